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
        unmatched = settings.unmatched((row.name, row.target) for row in rows)
    return replace(outcome, rows=rows, notes=(*outcome.notes, *unmatched))


def _exempted(row: CheckRow, settings: Settings, today: date) -> CheckRow:
    if not row.state.failing or row.state is State.WRONG:
        return row
    exemption = settings.exemption(row.name, row.target, today)
    if exemption is None:
        return row
    if exemption.holds(today):
        return replace(row, exempt=exemption.text(today))
    return replace(row, notes=(*row.notes, exemption.text(today)))
