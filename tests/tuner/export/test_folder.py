"""The folder of an export: every file or none, and only in a new or empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.export.folder import write_all

FILES = {"a.whl": b"a", "b.whl": b"b"}
TREE = {"lib/README.md": b"a", "lib/build/torch-cpu/x.py": b"b"}


@pytest.mark.parametrize("exists", [False, True])
def test_files_are_written_to_a_new_or_an_empty_folder(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "dist"
    if exists:
        folder.mkdir()
    assert write_all(folder, FILES) == [folder / "a.whl", folder / "b.whl"]
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == FILES


def test_files_are_written_below_folders(tmp_path: Path) -> None:
    folder = tmp_path / "dist"
    assert write_all(folder, TREE) == [folder / name for name in TREE]
    assert [p.name for p in tmp_path.rglob("*") if p.is_dir()] == [
        "dist", "lib", "build", "torch-cpu",
    ]  # fmt: skip
    assert all((folder / name).read_bytes() == content for name, content in TREE.items())


def test_a_folder_with_files_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"mine")
    with pytest.raises(InvalidInput, match=r"is not empty \(it has a.whl\); give a folder that is"):
        write_all(tmp_path, FILES)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"mine"]


def test_a_file_and_a_folder_in_no_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="is a file; give a folder"):
        write_all(tmp_path / "file", FILES)
    with pytest.raises(InvalidInput, match=r"cannot write to -o .*No such file or directory; give"):
        write_all(tmp_path / "no" / "dist", FILES)
    with pytest.raises(InvalidInput, match=r"cannot write to -o .*Not a directory"):
        write_all(tmp_path / "file" / "dist", FILES)


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    ("files", "at"), [(FILES, 1), (FILES, 2), (FILES, 3), (FILES, 4), (TREE, 2), (TREE, 3)]
)
def test_a_disk_that_is_full_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, files: dict[str, bytes], at: int
) -> None:
    """The first, second, ... step of writing fails: two writes, then a move of each entry."""
    folder = tmp_path / "dist"
    if exists:
        folder.mkdir()
    steps = 0

    def failing(do):  # type: ignore[no-untyped-def]
        def step(*arguments: object) -> object:
            nonlocal steps
            steps += 1
            if steps == at:
                raise OSError(28, "No space left on device")
            return do(*arguments)

        return step

    monkeypatch.setattr(Path, "write_bytes", failing(Path.write_bytes))
    monkeypatch.setattr(Path, "replace", failing(Path.replace))
    with pytest.raises(InvalidInput, match="No space left on device"):
        write_all(folder, files)
    assert list(tmp_path.rglob("*")) == ([folder] if exists else [])
