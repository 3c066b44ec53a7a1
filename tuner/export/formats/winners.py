"""Format winners: a results database with the winners of one target, to hand on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.codegen.errors import InvalidInput, ResultsError
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.library import json_bytes, names_of, proof
from gdn_ops.tuner.export.manifest import AGAIN
from gdn_ops.tuner.export.summary import summary as summary  # a part of the format
from gdn_ops.tuner.export.winners_database import winners_database
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.merge_files import merge_files
from gdn_ops.tuner.store.merged import REFUSED

SOUND = "is as it was exported, and gdn merge takes every winner in it."
DATABASE, PROOF, DIGEST = ".db", ".json", ".db.sha256"
HEX = 64
"""Characters of a digest."""


def exported(descriptions: Sequence[Description]) -> dict[str, bytes]:
    """Per target a database, the proof of its winners, and their digests as sha256sum writes them.

    Raises:
        InvalidInput: two targets have the same name as a file, or one has none.
    """
    found: dict[str, bytes] = {}
    for description in descriptions:
        stem = names_of(description).target
        name = stem + DATABASE
        if name in found:
            raise InvalidInput(
                f"two targets make the same file {name}; export them one by one with --target."
            )
        files = {name: winners_database(description), stem + PROOF: json_bytes(proof(description))}
        found |= files
        found[stem + DIGEST] = "".join(_line(*file) for file in files.items()).encode()
    return found


def recognizes(path: Path) -> bool:
    stem = path.name.removesuffix(DATABASE)
    beside = (path.with_name(stem + suffix).is_file() for suffix in (PROOF, DIGEST))
    return path.suffix == DATABASE and any(beside)


def faults(path: Path) -> list[str]:
    """What is wrong with a database: other digests, damage, or rows that ``gdn merge`` refuses."""
    stem = path.name.removesuffix(DATABASE)
    beside = path.with_name(stem + DIGEST)
    try:
        recorded = beside.read_text(encoding="utf-8").splitlines(keepends=True)
        names = (path.name, stem + PROOF)
        lines = [_line(name, path.with_name(name).read_bytes()) for name in names]
    except (OSError, UnicodeDecodeError) as error:
        return [f"it, its proof or its digest {beside.name} cannot be read: {error}; {AGAIN}"]
    if len(recorded) != len(lines):
        return [f"{beside.name} is not the file that was exported; {AGAIN}"]
    altered = [
        f"{beside.name if _alike(line, expected) else name} is not the file that was exported; "
        f"{AGAIN}"
        for name, line, expected in zip(names, lines, recorded, strict=True)
        if line != expected
    ]
    return altered or _refused(path)


def _alike(line: str, recorded: str) -> bool:
    """Whether most characters of two lines with digests agree: then the record was altered.

    The digests of two contents have hardly any character in common.
    """
    same = sum(a == b for a, b in zip(line[:HEX], recorded[:HEX], strict=False))
    return same > HEX // 2


def _line(name: str, content: bytes) -> str:
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def _refused(path: Path) -> list[str]:
    """Damage that SQLite finds, and rows that ``gdn merge`` refuses."""
    try:
        with open_database(path, create=False, writable=False) as database:
            damage = database.faults()
        if damage:
            return [f"it is damaged: {damage[0]}; {AGAIN}"]
        with TemporaryDirectory(prefix="gdn-verify-") as folder:
            merged = merge_files([path], Path(folder) / "new.db")
    except (ResultsError, InvalidInput) as error:
        return [str(error)]
    refused = [f"{row.row} cannot be used: {row.why}" for row in merged.refused]
    return refused + [
        f"the winner of {verdict.problem_id} on {verdict.target} cannot be used: {verdict.why}"
        for verdict in merged.verdicts
        if verdict.outcome == REFUSED
    ]
