"""Summary: what a check found in all, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import exp, fsum, isfinite, log

from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.reports.row_text import one_line
from gdn_ops.tuner.check.states import APART, FAILED, SKIPPED, State
from gdn_ops.tuner.report.counted import counted

_ORDER = (
    State.WRONG, State.CRASHED, State.REGRESSED, State.INCONCLUSIVE, State.ENVIRONMENT,
    State.REMOVED, State.NEW, State.IMPROVED, State.PASSED, State.UNCHANGED,
)  # fmt: skip
"""Counts start with the states that need a look."""


def verdict(outcome: Outcome) -> str:
    """A word for the whole check.

    ``failed``, ``interrupted``, ``incomparable``, ``undecided`` or ``passed``; what is undecided
    has the exit code 0, too.
    """
    code = outcome.exit_code()
    if code == FAILED:
        return "failed"
    if outcome.interrupted:
        return "interrupted"
    if code == SKIPPED:
        return "incomparable"
    return "undecided" if _unsure(outcome) else "passed"


def reason(outcome: Outcome) -> str:
    """Why the check has its exit code, in a sentence; names no row."""
    total = len(outcome.rows)
    code = outcome.exit_code()
    if code == FAILED:
        worse = outcome.failing
        text = f"{len(worse)} of {counted(total, 'row')} {_is(worse)} worse: {counts(worse)}"
    elif code == SKIPPED:
        apart = [r for r in outcome.rows if r.state in APART]
        text = (
            f"{len(apart)} of {counted(total, 'row')} could not be compared, which fails a strict "
            f"check: {counts(apart)}"
        )
    elif total:
        unsure = _unsure(outcome)
        text = f"none of {counted(total, 'row')} is {'known to be ' if unsure else ''}worse"
        if unsure and not outcome.interrupted:
            text += f", but {counts(unsure)}"
        exempt = [r for r in outcome.rows if r.state.failing]
        if exempt:
            text += f", except {len(exempt)} that {_is(exempt)} exempt"
    else:
        text = "there was nothing to compare"
    return f"{text}; interrupted before every row was decided" if outcome.interrupted else text


def counts(rows: Iterable[CheckRow]) -> str:
    """Number of rows per state, e.g. ``1 regressed, 12 passed``; empty without rows."""
    found = Counter(row.state for row in rows)
    return ", ".join(f"{found[state]} {state.value}" for state in _ORDER if found[state])


def geometric_mean(outcome: Outcome) -> float | None:
    """Geometric mean of the ratios of all rows that were timed; None if there is none."""
    logs = [log(ratio) for ratio in _ratios(outcome)]
    return exp(fsum(logs) / len(logs)) if logs else None


def geometric_mean_text(outcome: Outcome) -> str:
    """The mean in words; empty if fewer than two rows were timed."""
    mean, timed = geometric_mean(outcome), len(_ratios(outcome))
    return "" if mean is None or timed < 2 else f"geometric mean of {timed} ratios {mean:.3f}"


def compared(outcome: Outcome) -> str:
    """E.g. ``working tree against 3f2a91c (main), measured on NVIDIA H200 in 132 s``."""
    targets = list(dict.fromkeys(row.target for row in outcome.rows))
    if outcome.kind == "static":
        where = f"compiled for {', '.join(targets) or 'no target'}"
    else:
        device = outcome.environment.get("device") or ", ".join(targets) or "no device"
        where = f"measured on {device}"
    duration = seconds_text(outcome.seconds)
    return one_line(f"{outcome.head} against {outcome.base}, {where} in {duration}")


def _unsure(outcome: Outcome) -> list[CheckRow]:
    """The rows of which it is not known whether they are worse."""
    return [r for r in outcome.rows if r.state in (State.INCONCLUSIVE, State.ENVIRONMENT)]


def _ratios(outcome: Outcome) -> list[float]:
    timed = (row.times for row in outcome.rows if row.times is not None)
    return [times.ratio for times in timed if isfinite(times.ratio)]


def _is(rows: Iterable[object]) -> str:
    return "is" if len(list(rows)) == 1 else "are"
