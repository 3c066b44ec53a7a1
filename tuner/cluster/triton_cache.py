"""Entries of Triton's cache, taken to the node that measures what another node has compiled.

Triton names an entry by a hash of the source, the target, the options and its own version, so it
finds the entry on every node that has the same versions, and compiles again elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

GROUP = "__grp__"
"""Start of the name of the file that lists the paths of an entry's files."""
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")

Entry = tuple[str, Mapping[str, bytes]]
"""The name of an entry and its files by name, compressed."""


def default_folder() -> Path:
    """The folder of Triton's cache, as Triton finds it, without importing Triton."""
    given = os.environ.get("TRITON_CACHE_DIR")
    home = os.environ.get("TRITON_HOME")
    return Path(given) if given else Path(home or Path.home()) / ".triton" / "cache"


def read_entry(folder: Path) -> Entry | None:
    """Read an entry; None if it cannot be read, e.g. because it was only temporary."""
    try:
        found = {
            file.name: zlib.compress(file.read_bytes(), 1)
            for file in folder.iterdir()
            if file.is_file() and NAME.fullmatch(file.name)
        }
    except OSError:
        return None
    return (folder.name, found) if any(name.startswith(GROUP) for name in found) else None


def write_entry(entry: Entry, cache: Path) -> bool:
    """Write an entry that another machine has read; return whether it is there now.

    An existing entry stays as it is. The entry appears complete or not at all.
    """
    name, files = entry
    if not all(NAME.fullmatch(each) for each in (name, *files)):
        return False
    place = cache / name
    if place.exists():
        return True
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as part:
            made = Path(part) / name
            made.mkdir()
            for each, content in files.items():
                data = zlib.decompress(content)
                (made / each).write_bytes(_moved(data, place) if each.startswith(GROUP) else data)
            made.rename(place)
    except (OSError, ValueError, zlib.error):
        return place.exists()
    return True


def _moved(group: bytes, place: Path) -> bytes:
    """A list of files with the paths that they have in another folder."""
    paths = json.loads(group)["child_paths"]
    return json.dumps({"child_paths": {name: str(place / name) for name in paths}}).encode()
