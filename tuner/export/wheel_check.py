"""Checking a wheel: its digests, and its imports in a process without gdn-ops."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.tuner.export.archive import digest

SECONDS = 300.0

_IMPORTS = """
import importlib, json, pkgutil, sys

folder, name, blocked = sys.argv[1], sys.argv[2], set(sys.argv[3].split(","))

class Blocked:
    def find_spec(self, module, path=None, target=None):
        if module.partition(".")[0] in blocked:
            raise ImportError(f"{module} is not part of the library and must not be needed")

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, folder)
import torch

package = importlib.import_module(name)
for module in pkgutil.walk_packages(package.__path__, f"{name}."):
    importlib.import_module(module.name)
for public in package.__all__:
    getattr(package, public)
"""
BLOCKED = ("gdn_ops", "jinja2", "optuna", "sqlalchemy", "alembic", "rich", "typer", "transformers")
"""Packages that cannot be imported while the wheel's are."""


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
        return _failed_import(root, package)


def _is_library(name: str) -> bool:
    return name.endswith("/library.json")


def _failed_import(folder: Path, package: str) -> list[str]:
    command = [sys.executable, "-s", "-c", _IMPORTS, str(folder), package, ",".join(BLOCKED)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("TRITON_INTERPRET", None)
    try:
        run = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [f"importing {package} took longer than {SECONDS:.0f} s; export it again."]
    if run.returncode == 0:
        return []
    last = (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1]
    return [f"{package} cannot be imported without gdn-ops: {last}"]
