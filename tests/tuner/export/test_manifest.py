"""The manifest of a folder: a single altered byte, file or name is found."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from gdn_ops.tuner.export.library import json_bytes
from gdn_ops.tuner.export.manifest import altered, manifest_name, with_manifest

FILES = {"a.json": b"{}\n", "b.json": b"[]\n"}
TREE = {"README.md": b"x", "build/torch-cpu/a.py": b"", "build/torch-cpu/ops/b.py": b"1\n"}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    for name, data in with_manifest("table", FILES, [], lookup="x").items():
        (tmp_path / name).write_bytes(data)
    return tmp_path / manifest_name("table")


def test_an_export_is_as_it_was_written(manifest: Path) -> None:
    assert altered(manifest, "table") == []


def test_every_altered_byte_of_the_manifest_is_found(manifest: Path) -> None:
    data = manifest.read_bytes()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1
        manifest.write_bytes(changed)
        (fault,) = altered(manifest, "table")
        assert "table.manifest.json is not the file that was exported" in fault, at


def test_altered_missing_and_new_files_are_named(manifest: Path) -> None:
    folder = manifest.parent
    (folder / "a.json").write_bytes(b"{}")
    (folder / "b.json").unlink()
    (folder / "c.json").write_bytes(b"")
    assert altered(manifest, "table") == [
        "a.json is not the file that was exported; export it again.",
        "b.json cannot be read (No such file or directory); export it again.",
        "c.json is in the folder and not in table.manifest.json; remove it, or export it again.",
    ]
    assert len(altered(manifest, "table", others=True)) == 2


def test_files_below_folders_are_checked_and_so_is_compiled_python(tmp_path: Path) -> None:
    for name, data in with_manifest("hf", TREE, []).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    manifest = tmp_path / manifest_name("hf")
    ops = tmp_path / "build/torch-cpu/ops"
    assert altered(manifest, "hf") == []
    caches = [ops / "__pycache__", ops.parent / "__pycache__"]
    for cache in caches:
        cache.mkdir()
        (cache / "b.pyc").write_bytes(b"")
    (fault,) = altered(manifest, "hf")
    assert fault.startswith("build/torch-cpu/__pycache__ (and 1 more) was not exported, ")
    subprocess.run(fault.partition("again: ")[2], shell=True, check=True)
    assert altered(manifest, "hf") == [] and (ops / "b.py").exists()
    (ops / "b.py").write_bytes(b"2\n")
    (ops / "c.py").write_bytes(b"")
    (tmp_path / "build/torch-cuda/ops").mkdir(parents=True)
    assert altered(manifest, "hf") == [
        "build/torch-cpu/ops/b.py is not the file that was exported; export it again.",
        "build/torch-cpu/ops/c.py is in the folder and not in hf.manifest.json; remove it, or "
        "export it again.",
        "build/torch-cuda is in the folder and not in hf.manifest.json; remove it, or export it "
        "again.",
    ]
    (ops / "c.py").unlink()
    (tmp_path / "build").rename(tmp_path / "elsewhere")
    (tmp_path / "build").symlink_to("elsewhere")
    assert any(fault.startswith("build is in the folder") for fault in altered(manifest, "hf"))


def test_a_missing_manifest_and_that_of_another_format_are_refused(manifest: Path) -> None:
    (fault,) = altered(manifest, "t4")
    assert "is not the file that was exported" in fault
    manifest.unlink()
    (fault,) = altered(manifest, "table")
    assert "table.manifest.json, which has the digests, cannot be read" in fault


@pytest.mark.parametrize(
    "name", ["../a.json", "/etc/passwd", "x/../a.json", "..", "", ".", "x//a", "a\0"]
)
def test_a_file_outside_of_the_folder_is_never_read(manifest: Path, name: str) -> None:
    """A manifest whose own digest is right, but which names another file."""
    made = with_manifest("table", {name: b""}, [])[manifest.name]
    manifest.write_bytes(made)
    assert json_bytes(json.loads(made)) == made
    (fault,) = altered(manifest, "table")
    assert "is not the file that was exported" in fault


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff", b'{"digest": 1}', b"[" * 100_000])
def test_what_is_no_manifest_is_refused(manifest: Path, text: bytes) -> None:
    manifest.write_bytes(text)
    (fault,) = altered(manifest, "table")
    assert "is not the file that was exported" in fault
