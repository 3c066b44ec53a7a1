"""The winners of a library as a results database, as dispatch and ``gdn merge`` read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.results_url import Location
from gdn_ops.tuner.export.description import Description, ExportedWinner
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
    found: dict[Location, list[ExportedWinner]] = defaultdict(list)
    for exported in description.winners:
        found[exported.winner.database].append(exported)
    with TemporaryDirectory(prefix="gdn-export-") as name:
        folder = Path(name)
        parts = []
        for number, (path, winners) in enumerate(found.items()):
            parts.append(folder / f"{number}.db")
            earlier = {
                (w.winner.problem_id, target): w.winner.trial_id
                for w in winners
                if w.instead_of and w.winner.trial_id is not None
            }
            _write(path, parts[-1], target, [w.winner.problem_id for w in winners], earlier)
        if len(parts) == 1:
            return parts[0].read_bytes()
        # no two parts have a winner of the same problem, so a merge keeps all of them
        whole, final = folder / "whole.db", folder / "final.db"
        with open_database(whole, create=True) as database:
            merge(database, parts)
        _write(whole, final, target, [w.winner.problem_id for w in description.winners], {})
        return final.read_bytes()


def _write(
    source: Location,
    to: Path,
    target: str,
    problems: Sequence[str],
    earlier: Mapping[tuple[str, str], int],
) -> None:
    with open_database(source, create=False, writable=False) as database:
        written = write_winners(database, to, targets=[target], problems=problems, earlier=earlier)
    if len(written.winners) != len(problems):
        raise ResultsError(
            f"{len(problems) - len(written.winners)} winners of {source} cannot be exported: "
            f"{'; '.join(written.left_out)}"
        )
