"""``gdn merge``: copies the results of other databases into one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gdn_ops.tuner.cli.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gdn_ops.tuner.store.merge import Merged, Verdict

SHOWN_ROWS = 10
"""Refused rows that are printed one by one."""


def merge(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE...", help="Results databases, or wheels that `gdn export` wrote."
        ),
    ],
    into: Annotated[
        Path | None,
        typer.Option(
            help="Results database to write; made if it does not exist. Default: $GDN_RESULTS_DB, "
            "or a file in your data folder, as for `gdn tune`."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done; write nothing.")
    ] = False,
) -> Answer:
    """Copy the results of other databases into one.

    Everything is copied: winners, the trials that measured them, failed trials, and the
    environments (device, driver, versions) of both. The sources are only read, and nothing that is
    stored is lost: a winner that is replaced stays as history. Merging the same file again
    changes nothing. Of an exported wheel only the database in it is read.

    If there are several winners for a problem on a target, one becomes the current one. A measured
    winner is preferred to a predicted one, and one whose kernels' code is unchanged to a stale one.
    Times of two environments do not compare, so the environment measured last is preferred; within
    one environment the faster winner is.

    Rows that cannot be used are refused and named, e.g. a variant that can no longer be rendered.
    Exit code: 0 if nothing was refused, 1 if something was, 2 if a source cannot be merged at all;
    then nothing is written.

    Examples:

        gdn merge colleague.db

        gdn merge a100.db h100.db h200.db --into all.db

        gdn merge winners.db --dry-run
    """
    from gdn_ops.results_path import expanded, user_database
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.store.merge_files import merge_files

    paths = [expanded(source, "SOURCE") for source in sources]
    destination = (expanded(into, "--into") if into else user_database()).absolute()
    merged = merge_files(paths, destination, dry_run=dry_run)
    if merged.verdicts:
        _print_verdicts(merged.verdicts, name_sources=len(paths) > 1)
    for refused in merged.refused[:SHOWN_ROWS]:
        console.fail(f"refused {refused.row} of {refused.source}: {refused.why}")
    if (more := len(merged.refused) - SHOWN_ROWS) > 0:
        console.fail(f"refused {more} more rows")
    _print_totals(merged, destination, dry_run=dry_run)
    _print_next(merged.verdicts, destination, user_database(), dry_run=dry_run, into=into)
    results = {
        "destination": destination,
        "dry_run": dry_run,
        "verdicts": [
            {
                "source": v.source, "target": v.target, "problem_id": v.problem_id,
                "winner": v.winner, "median_seconds": v.median, "outcome": v.outcome,
                "reason": v.why, "fresh": v.fresh,
            }
            for v in merged.verdicts
        ],
        "added_rows": merged.added,
        "refused_rows": [
            {"source": r.source, "row": r.row, "reason": r.why} for r in merged.refused
        ],
    }  # fmt: skip
    return Answer(1 if merged.count("refused") or merged.refused else 0, results)


def _print_verdicts(verdicts: Sequence[Verdict], *, name_sources: bool) -> None:
    from gdn_ops.seconds import seconds_text
    from gdn_ops.tuner.report import console

    columns = ["outcome<", "target", "problem", "winner", "median>", "why"]
    rows = [
        [v.outcome, v.target, v.problem_id, v.winner, seconds_text(v.median), v.why]
        for v in verdicts
    ]
    if name_sources:
        columns.insert(1, "source")
        for row, verdict in zip(rows, verdicts, strict=True):
            row.insert(1, str(verdict.source))
    console.table(columns, rows)


def _print_totals(merged: Merged, destination: Path, *, dry_run: bool) -> None:
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.report.counted import counted
    from gdn_ops.tuner.store.merge import OUTCOMES

    if not merged.verdicts:
        console.say("No winners were offered.")
    counts = [f"{merged.count(outcome)} {outcome}" for outcome in OUTCOMES[:3]]
    if withdrawn := merged.count(OUTCOMES[3]):
        counts.append(f"{withdrawn} withdrawn")
    added = [
        counted(merged.added.get(table, 0), name)
        for table, name in (
            ("winner_rows", "winner"), ("trials", "trial"), ("runs", "run"),
            ("environments", "environment"), ("problems", "problem"),
        )
    ]  # fmt: skip
    rows = f"; {counted(len(merged.refused), 'other row')} refused" if merged.refused else ""
    console.say(f"Winners: {', '.join(counts)}{rows}.")
    console.say(f"New rows, superseded winners included: {', '.join(added)}.")
    console.say(f"Dry run: {destination} is unchanged." if dry_run else f"Stored in {destination}")


def _print_next(
    verdicts: Sequence[Verdict], destination: Path, user: Path, *, dry_run: bool, into: Path | None
) -> None:
    """Say what to do next."""
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.report.counted import counted
    from gdn_ops.tuner.store.merge import REFUSED, TAKEN

    stale = sum(v.outcome == TAKEN and not v.fresh for v in verdicts)
    if stale:
        console.say(
            f"The kernels of {counted(stale, 'winner')} taken have changed since the measurement; "
            "`gdn tune --again` on that device measures again."
        )
    if any(v.outcome == REFUSED for v in verdicts):
        console.say("`gdn tune` on that device finds a winner in place of a refused one.")
    if dry_run:
        console.say("Next: the same command without --dry-run.")
    elif into is None or destination == user:
        console.say("Next: `gdn show` lists the winners, which the functions use from now on.")
    else:
        console.say(
            f"Next: `gdn show --db {destination}` lists the winners; with GDN_RESULTS_DB set to "
            "this file the functions use them."
        )
