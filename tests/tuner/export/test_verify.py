"""``gdn export verify``: an altered byte is named, and a broken import is found."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.export.archive import archive
from gdn_ops.tuner.export.formats.wheel import faults
from gdn_ops.tuner.export.verification import exports_in


def test_an_export_is_as_it_was_written(shipped_wheel: Path) -> None:
    ((path, found),) = exports_in(shipped_wheel.parent)
    assert path == shipped_wheel
    assert found.faults(path) == []


def test_every_altered_byte_is_named(shipped_wheel: Path, tmp_path: Path) -> None:
    copy = tmp_path / shipped_wheel.name
    content = bytearray(shipped_wheel.read_bytes())
    with zipfile.ZipFile(shipped_wheel) as whole:
        infos = whole.infolist()
    for info in (infos[0], infos[len(infos) // 2]):
        changed = bytearray(content)
        at = info.header_offset + 30 + len(info.filename) + 20
        changed[at] ^= 1
        copy.write_bytes(changed)
        (fault,) = faults(copy)
        assert info.filename in fault, fault


def _rewritten(wheel: Path, to: Path, change: dict[str, bytes | None]) -> None:
    """Copy a wheel with other members, its RECORD and the archive's own checksums intact."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(to, "w") as new:
        members = {info.filename: old.read(info) for info in old.infolist()}
        for name, content in {**members, **change}.items():
            if content is not None:
                new.writestr(name, content)


def test_changed_missing_and_new_members_are_named(
    shipped_wheel: Path, members: dict[str, bytes], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.whl"
    init, index = (next(n for n in members if n.endswith(e)) for e in ("_version.py", "index.json"))
    _rewritten(shipped_wheel, copy, {init: members[init] + b"\n", index: None, "new.py": b""})
    assert faults(copy) == [
        f"{init} is not the file that was exported; export it again.",
        f"{index} is in RECORD and missing from the wheel; export it again.",
        "new.py is in the wheel and not in RECORD; export it again.",
    ]


def test_a_module_that_needs_gdn_ops_is_found(members: dict[str, bytes], tmp_path: Path) -> None:
    name = next(n for n in members if n.endswith("/seconds.py"))
    dist_info = next(n for n in members if n.endswith("/METADATA")).split("/")[0]
    content = {n: c for n, c in members.items() if not n.endswith("/RECORD")}
    path = tmp_path / "lib.whl"
    path.write_bytes(archive({**content, name: b"import gdn_ops\n"}, dist_info))
    (fault,) = faults(path)
    assert "cannot be imported without gdn-ops: ImportError: gdn_ops is not part" in fault


def test_members_outside_of_the_package_are_refused(
    members: dict[str, bytes], tmp_path: Path
) -> None:
    dist_info = next(n for n in members if n.endswith("/METADATA")).split("/")[0]
    content = {n: c for n, c in members.items() if not n.endswith("/RECORD")}
    path = tmp_path / "lib.whl"
    path.write_bytes(archive({**content, "../../evil.py": b""}, dist_info))
    assert faults(path) == [
        "../../evil.py would be installed outside of the package; export it again."
    ]
    assert not (tmp_path.parent / "evil.py").exists()


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.whl").write_text("no archive")
    assert faults(tmp_path / "text.whl")[0].startswith("text.whl cannot be read as a wheel")
    (tmp_path / "other.whl").write_bytes(archive({"other/__init__.py": b""}, "other-1.dist-info"))
    assert "no library.json" in faults(tmp_path / "other.whl")[0]
    with zipfile.ZipFile(tmp_path / "bare.whl", "w") as bare:
        bare.writestr("x.py", "")
    assert "has 0 files RECORD" in faults(tmp_path / "bare.whl")[0]


def test_a_member_that_is_there_twice_is_refused(shipped_wheel: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.whl"
    copy.write_bytes(shipped_wheel.read_bytes())
    with zipfile.ZipFile(copy, "a") as wheel, pytest.warns(UserWarning, match="Duplicate name"):
        name = wheel.namelist()[0]
        wheel.writestr(name, wheel.read(name))
    assert faults(copy) == ["copy.whl has a member twice; export it again."]


def test_a_path_without_an_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is nothing at"):
        exports_in(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InvalidInput, match="is no export of gdn-ops and has none in it"):
        exports_in(tmp_path)
