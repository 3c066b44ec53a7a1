"""Format winners: a results database with the winners of one target, to hand on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput, ResultsError
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.library import names_of
from gdn_ops.tuner.export.winners_database import winners_database

SOUND = "is as it was exported, and every winner in it can be read."
DATABASE, DIGEST = ".db", ".db.sha256"


def exported(descriptions: Sequence[Description]) -> dict[str, bytes]:
    """One database per target with its digest beside it, as ``sha256sum`` writes it.

    Raises:
        InvalidInput: two targets have the same name as a file, or one has none.
    """
    found: dict[str, bytes] = {}
    for description in descriptions:
        name = names_of(description).target + DATABASE
        if name in found:
            raise InvalidInput(
                f"two targets make the same file {name}; export them one by one with --target."
            )
        found[name] = winners_database(description)
        digest = hashlib.sha256(found[name]).hexdigest()
        found[name.removesuffix(DATABASE) + DIGEST] = f"{digest}  {name}\n".encode()
    return found


def recognizes(path: Path) -> bool:
    return path.suffix == DATABASE


def faults(path: Path) -> list[str]:
    """What is wrong with a database: another digest, or rows that dispatch cannot read."""
    beside = path.with_name(path.name.removesuffix(DATABASE) + DIGEST)
    try:
        recorded = beside.read_text(encoding="utf-8").split()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        return [f"it or its digest {beside.name} cannot be read: {error}; export it again."]
    if recorded != [digest, path.name]:
        return [f"{path.name} is not the file that was exported; export it again."]
    try:
        table = read_winners(path)
    except ResultsError as error:
        return [str(error)]
    return [f"the row of {row.problem_id} cannot be read: {row.reason}" for row in table.skipped]
