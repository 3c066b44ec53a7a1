"""Rates: how often each verdict was given for a planted slow-down, and what the bars are."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gdn_ops.tuner.check.outcome import CheckRow
from gdn_ops.tuner.check.states import State

SHOWN = (State.PASSED, State.IMPROVED, State.REGRESSED, State.INCONCLUSIVE)


@dataclass(frozen=True)
class Level:
    """A planted slow-down, and the bars of its rates in percent; None for no bar.

    Args:
        share: extra work as a share of the kernel's time; 0 compares the code with itself.
    """

    share: float
    comparisons: int
    regressed_least: float | None = None
    regressed_most: float | None = None
    passed_most: float | None = None


LEVELS = (
    Level(0.0, 200, regressed_most=1),
    Level(0.05, 100, regressed_least=90, passed_most=2),
    Level(0.10, 100, regressed_least=99),
    Level(0.30, 100, regressed_least=100),
)

COLUMNS = ("planted>", "comparisons>", "ratio found>", *(f"{s.value} %>" for s in SHOWN),
           "pairs>", "bar", "met")  # fmt: skip


def record(row: CheckRow, share: float) -> dict[str, object]:
    """What is kept of a comparison, as JSON."""
    times = row.times
    return {
        "planted": share,
        "problem": row.name,
        "state": row.state.value,
        "ratio": None if times is None else times.ratio,
        "ratios": [] if times is None else list(times.ratios),
        "message": row.message,
        "notes": list(row.notes),
    }


def table_row(level: Level, records: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """A line of the table."""
    own = [r for r in records if r["planted"] == level.share]
    counts = Counter(str(r["state"]) for r in own)
    rates = [100 * counts[state.value] / max(1, len(own)) for state in SHOWN]
    found = [float(str(r["ratio"])) for r in own if r["ratio"] is not None]
    pairs = [len(list(r["ratios"])) for r in own if isinstance(r["ratios"], list)]
    passed, _, regressed, _ = rates
    checks = list(_checks(level, regressed, passed + rates[1]))
    return (
        f"{level.share:.0%}",
        str(len(own)),
        f"{statistics.median(found):.3f}" if found else "-",
        *(f"{rate:.1f}" for rate in rates),
        f"{statistics.mean(pairs):.1f}" if pairs else "-",
        ", ".join(text for text, _ in checks),
        "yes" if all(met for _, met in checks) else "no",
    )


def _checks(level: Level, regressed: float, passed: float) -> Iterable[tuple[str, bool]]:
    if level.regressed_most is not None:
        yield f"regressed <= {level.regressed_most:g} %", regressed <= level.regressed_most
    if level.regressed_least is not None:
        yield f"regressed >= {level.regressed_least:g} %", regressed >= level.regressed_least
    if level.passed_most is not None:
        yield f"passed <= {level.passed_most:g} %", passed <= level.passed_most
