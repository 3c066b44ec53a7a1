"""The winners of a library as a results database, as dispatch and ``gdn merge`` read it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.results_url import Location
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.merge import merge
from gdn_ops.tuner.store.winners_file import write_winners


def winners_database(description: Description) -> bytes:
    """Return an SQLite file with the winners and the trials that measured them.

    The bytes follow from the rows and the version of SQLite.

    Raises:
        ResultsError: a winner cannot be copied.
    """
    target = description.winners[0].winner.target
    found: dict[Location, list[str]] = defaultdict(list)
    for exported in description.winners:
        found[exported.winner.database].append(exported.winner.problem_id)
    with TemporaryDirectory(prefix="gdn-export-") as name:
        folder = Path(name)
        parts = []
        for number, (path, problems) in enumerate(found.items()):
            parts.append(folder / f"{number}.db")
            _write(path, parts[-1], target, problems)
        if len(parts) == 1:
            return parts[0].read_bytes()
        # no two parts have a winner of the same problem, so a merge keeps all of them
        whole, final = folder / "whole.db", folder / "final.db"
        with open_database(whole, create=True) as database:
            merge(database, parts)
        _write(whole, final, target, [id_ for ids in found.values() for id_ in ids])
        return final.read_bytes()


def _write(source: Location, to: Path, target: str, problems: list[str]) -> None:
    with open_database(source, create=False, writable=False) as database:
        written = write_winners(database, to, targets=[target], problems=problems)
    if len(written.winners) != len(problems):
        raise ResultsError(
            f"{len(problems) - len(written.winners)} winners of {source} cannot be exported: "
            f"{'; '.join(written.left_out)}"
        )
