"""The manifest of an export that is a folder: the proof, and the digest of every file."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.library import json_bytes, proof

SCHEMA = 1
AGAIN = "export it again."
PYTHON_CACHE = "__pycache__"
"""The folder in which Python keeps what it has compiled of the sources next to it."""


def manifest_name(format_name: str) -> str:
    """The file name of the manifest of a format."""
    return f"{format_name}.manifest.json"


def with_manifest(
    format_name: str,
    files: Mapping[str, bytes],
    descriptions: Sequence[Description],
    **facts: object,
) -> dict[str, bytes]:
    """The files of an export with their manifest, by path in its folder.

    Args:
        files: content by path, with slashes.
        facts: what else the manifest of this format has.
    """
    content = {
        "schema": SCHEMA,
        "format": format_name,
        "targets": [proof(description) for description in descriptions],
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            for name, data in files.items()
        },
        **facts,
    }
    manifest = json_bytes({**content, "digest": _digest(content)})
    return {**files, manifest_name(format_name): manifest}


def altered(manifest: Path, format_name: str, *, others: bool = False) -> list[str]:
    """What is not as it was exported: one sentence per altered, missing or unknown file.

    Args:
        others: whether the folder may have files of another origin too.
    """
    folder = manifest.parent
    try:
        data = manifest.read_bytes()
    except OSError as error:
        return [
            f"{manifest.name}, which has the digests, cannot be read ({error.strerror}); keep it "
            f"next to the other files, or {AGAIN}"
        ]
    files = _files(data, format_name)
    if files is None:
        return [f"{manifest.name} is not the file that was exported; {AGAIN}"]
    found = []
    for name, digest in sorted(files.items()):
        try:
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
                found.append(f"{name} is not the file that was exported; {AGAIN}")
        except OSError as error:
            found.append(f"{name} cannot be read ({error.strerror}); {AGAIN}")
    if not others:
        known = {*files, manifest.name}
        unknown = [name for name in sorted(_entries(folder, known)) if name not in known]
        caches = [name for name in unknown if PurePosixPath(name).name == PYTHON_CACHE]
        found += [
            f"{name} is in the folder and not in {manifest.name}; remove it, or {AGAIN}"
            for name in unknown
            if name not in caches
        ]
        if caches:
            found.append(_cached(folder, caches))
    return found


def _cached(folder: Path, caches: Sequence[str]) -> str:
    """What is wrong with compiled Python, which Python runs in place of the sources."""
    more = f" (and {len(caches) - 1} more)" if len(caches) > 1 else ""
    return (
        f"{caches[0]}{more} was not exported, and Python runs the compiled files in it in place of "
        "the sources. Python writes such folders when it imports the library, but it cannot be "
        "told whether others did. Remove them and verify again: "
        f"find {shlex.quote(str(folder))} -name {PYTHON_CACHE} -exec rm -r {{}} +"
    )


def _entries(folder: Path, known: Collection[str]) -> Iterator[str]:
    """What is in a folder, by path; of a folder without known files its own path only."""
    within = {part.as_posix() for name in known for part in Path(name).parents}
    for path in folder.iterdir():
        name = path.name
        if path.is_dir() and not path.is_symlink() and name in within:
            inside = {key.partition("/")[2] for key in known if key.startswith(f"{name}/")}
            yield from (f"{name}/{entry}" for entry in _entries(path, inside))
        else:
            yield name


def _files(data: bytes, format_name: str) -> dict[str, str] | None:
    """The digest of each file by its name; None if the manifest is altered."""
    try:
        content: dict[str, Any] = json.loads(data)
        digest = content.pop("digest")
        whole = json_bytes({**content, "digest": digest}) == data and digest == _digest(content)
        if not whole or content["format"] != format_name:
            return None
        files = {str(name): str(facts["sha256"]) for name, facts in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return files if all(map(_inside, files)) else None


def _inside(name: str) -> bool:
    """Whether a path with slashes is that of a file in the folder it starts from."""
    path = PurePosixPath(name)
    return (
        bool(path.name)
        and name == str(path)
        and not {"..", "/"} & set(path.parts)
        and ("\0" not in name)
    )


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json_bytes(content)).hexdigest()
