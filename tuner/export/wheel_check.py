"""Checking a wheel: its digests, and its imports in a process without gdn-ops."""

from __future__ import annotations

import csv
import io
import json
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.tuner.export.archive import digest
from gdn_ops.tuner.export.bare_import import failed_import


def faults(path: Path) -> list[str]:
    """What is wrong with a wheel: one sentence per altered, missing or unknown member.

    If every member is as recorded, each module is imported in a process of its own in which
    gdn-ops and what it needs to render and tune cannot be imported.
    """
    try:
        with zipfile.ZipFile(path) as wheel:
            names = wheel.namelist()
            members = {info.filename: wheel.read(info) for info in wheel.infolist()}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        return [f"{path.name} cannot be read as a wheel: {error}; export it again."]
    if len(names) != len(members):
        return [f"{path.name} has a member twice; export it again."]
    return _altered(members) or _not_importable(members)


def _altered(members: dict[str, bytes]) -> list[str]:
    records = [name for name in members if name.endswith(".dist-info/RECORD")]
    if len(records) != 1:
        return [f"the wheel has {len(records)} files RECORD, not 1; export it again."]
    (record,) = records
    try:
        rows = list(csv.reader(io.StringIO(members[record].decode())))
    except (UnicodeDecodeError, csv.Error) as error:
        return [f"{record} cannot be read: {error}; export it again."]
    if any(len(row) != 3 for row in rows):
        return [f"{record} has a line that is not path, digest and size; export it again."]
    recorded = {name: (hashed, size) for name, hashed, size in rows}
    found = []
    for name in sorted(recorded.keys() | members.keys() - {record}):
        if name == record:
            continue
        if name not in members:
            found.append(f"{name} is in RECORD and missing from the wheel; export it again.")
        elif name not in recorded:
            found.append(f"{name} is in the wheel and not in RECORD; export it again.")
        elif recorded[name] != (digest(members[name]), str(len(members[name]))):
            found.append(f"{name} is not the file that was exported; export it again.")
    return found


def _not_importable(members: dict[str, bytes]) -> list[str]:
    libraries = [name for name in members if name.count("/") == 1 and _is_library(name)]
    if len(libraries) != 1:
        return ["the wheel has no library.json, so it is no library; export one with gdn export."]
    try:
        package = str(json.loads(members[libraries[0]])["package"])
    except (ValueError, KeyError, TypeError):
        return [f"{libraries[0]} names no package; export it again."]
    with TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name, content in members.items():
            path = root / name
            if not path.resolve().is_relative_to(root):
                return [f"{name} would be installed outside of the package; export it again."]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return failed_import(root / package, package)


def _is_library(name: str) -> bool:
    return name.endswith("/library.json")
