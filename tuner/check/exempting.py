"""Exempting: what the settings of a repository say about the rows of a check."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.settings import Settings
from gdn_ops.tuner.check.states import State


def exempted(outcome: Outcome, settings: Settings, *, today: date, every_row: bool) -> Outcome:
    """The outcome with the exemptions of its failing rows.

    An exemption is of a slower kernel: no exemption covers wrong results.

    Args:
        every_row: whether the check had all rows of the repository; if so, a note names each entry
            of the settings that covers none.
    """
    rows = tuple(_exempted(row, settings, today) for row in outcome.rows)
    unmatched: tuple[str, ...] = ()
    if every_row and not outcome.interrupted:
        named = [(row.name, row.target) for row in rows]
        unmatched = settings.unmatched(named, rows=outcome.kind == "measured")
    return replace(outcome, rows=rows, notes=(*outcome.notes, *unmatched))


def accepted(outcome: Outcome) -> Outcome:
    """The outcome of writing baselines: what regressed was accepted by writing it."""
    rows = (
        replace(row, exempt="written to the baseline") if row.state is State.REGRESSED else row
        for row in outcome.rows
    )
    return replace(outcome, rows=tuple(rows))


def _exempted(row: CheckRow, settings: Settings, today: date) -> CheckRow:
    if not row.state.failing or row.state is State.WRONG:
        return row
    exemption = settings.exemption(row.name, row.target, today)
    if exemption is None:
        return row
    if exemption.holds(today):
        return replace(row, exempt=exemption.text(today))
    return replace(row, notes=(*row.notes, exemption.text(today)))
