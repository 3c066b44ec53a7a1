"""What a merge did, as ``gdn merge`` and ``gdn pull`` print it."""

from __future__ import annotations

from collections.abc import Sequence

from gdn_ops.results_path import user_database
from gdn_ops.results_url import Location, ResultsUrl
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.report import console
from gdn_ops.tuner.report.counted import counted
from gdn_ops.tuner.store.merged import OUTCOMES, REFUSED, TAKEN, Merged, Verdict

SHOWN_ROWS = 10
"""Refused rows that are printed one by one."""


def print_merged(
    merged: Merged, destination: Location, *, name_sources: bool, dry_run: bool
) -> int:
    """Print what became of each winner, totals and what to do next; return the exit code."""
    if merged.verdicts:
        _print_verdicts(merged.verdicts, name_sources=name_sources)
    for refused in merged.refused[:SHOWN_ROWS]:
        console.fail(f"refused {refused.row} of {refused.source}: {refused.why}")
    if (more := len(merged.refused) - SHOWN_ROWS) > 0:
        console.fail(f"refused {more} more rows")
    _print_totals(merged, destination, dry_run=dry_run)
    _print_next(merged.verdicts, destination, dry_run=dry_run)
    return 1 if merged.count(REFUSED) or merged.refused else 0


def _print_verdicts(verdicts: Sequence[Verdict], *, name_sources: bool) -> None:

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


def _print_totals(merged: Merged, destination: Location, *, dry_run: bool) -> None:

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


def _print_next(verdicts: Sequence[Verdict], destination: Location, *, dry_run: bool) -> None:
    """Say what to do next."""
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
    elif isinstance(destination, ResultsUrl):
        console.say(f"Next: `gdn pull {destination}` on each machine brings the winners there.")
    elif destination == user_database():
        console.say("Next: `gdn show` lists the winners, which the functions use from now on.")
    else:
        console.say(
            f"Next: `gdn show --db {destination}` lists the winners; with GDN_RESULTS_DB set to "
            "this file the functions use them."
        )
