"""The scores of a replay as a table and as fields of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from gdn_ops.tuner.replay.replay import CHECKPOINTS, Score, score

COLUMNS = ("strategy", "space", *(f"{count}>" for count in CHECKPOINTS))
ALL = "mean of all"


@dataclass(frozen=True)
class Entry:
    """The fractions that a strategy reached in a space: per seed, at each of ``CHECKPOINTS``."""

    space: str
    strategy: str
    fractions: tuple[tuple[float, ...], ...]

    @property
    def scores(self) -> list[Score]:
        return [score(samples) for samples in zip(*self.fractions, strict=True)]


def with_means(entries: Sequence[Entry]) -> list[Entry]:
    """The entries by strategy, each strategy's followed by its mean over the spaces."""
    result = []
    for strategy in dict.fromkeys(entry.strategy for entry in entries):
        own = [entry for entry in entries if entry.strategy == strategy]
        result += own
        if len(own) > 1:
            seeds = zip(*(entry.fractions for entry in own), strict=True)
            means = tuple(tuple(fmean(at) for at in zip(*spaces, strict=True)) for spaces in seeds)
            result.append(Entry(ALL, strategy, means))
    return result


def rows(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    return [(e.strategy, e.space, *map(_text, e.scores)) for e in with_means(entries)]


def results(entries: Sequence[Entry], *, transfer: bool) -> dict[str, Any]:
    """Every figure: per strategy and space the fractions of each seed, the means and intervals."""
    found = [
        {
            "strategy": entry.strategy,
            "space": entry.space,
            "fractions": entry.fractions,
            "mean": [s.mean for s in entry.scores],
            "interval": [(s.low, s.high) for s in entry.scores],
        }
        for entry in with_means(entries)
    ]
    return {"evaluations": CHECKPOINTS, "transfer": transfer, "results": found}


def _text(score: Score) -> str:
    return f"{score.mean:.3f} ({score.low:.3f} .. {score.high:.3f})"
