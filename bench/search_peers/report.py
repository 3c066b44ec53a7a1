"""The stored rows as Markdown: a table per kernel and one of all, best strategy first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from bench.search_peers.stored import Row
from gdn_ops.tuner.replay.replay import CHECKPOINTS, Score, score

HEADING = """# Search strategies of this project, Optuna and Kernel Tuner

The optimum over the best time found after 25, 50, 100 and 200 evaluations (1 is the optimum): the
mean over spaces, then over seeds, and its 95 % bootstrap interval over seeds. A different recorded
config costs an evaluation, also one that failed; repeated configs and configs that are not in the
space cost none, and every strategy has its default settings. A search that ended early keeps what
it reached. No GPU was used. Made by `python -m bench.search_peers`; `docs/search.md` says how."""
ALL = "all"
RANKED = CHECKPOINTS.index(50)
"""Strategies stand in the order of the mean of all at this many evaluations."""


def markdown(rows: Sequence[Row]) -> str:
    """The tables, and why strategies could not run."""
    ran = [row for row in rows if row.fractions]
    kernels = list(dict.fromkeys(row.kernel for row in ran))
    spaces = {row.space for row in ran}
    strategies = list(dict.fromkeys(row.strategy for row in ran))
    whole = [s for s in strategies if {row.space for row in _of(ran, s)} == spaces]
    whole.sort(key=lambda strategy: -scores(_of(ran, strategy))[RANKED].mean)
    some = [strategy for strategy in strategies if strategy not in whole]
    lines = [HEADING, "", *_facts(ran), ""]
    for kernel in (ALL, *kernels):
        lines += [f"## {kernel}", "", *_table(ran, kernel, whole), ""]
    if some:
        lines += [f"Not in the tables, because spaces are missing: {', '.join(some)}.", ""]
    refused = {row.strategy: row.why_not for row in rows if row.why_not}
    if refused:
        lines += ["## Could not run", "", "| strategy | why |", "| --- | --- |"]
        lines += [f"| {name} | {why.replace('|', '/')} |" for name, why in refused.items()]
        lines += [""]
    return "\n".join(lines)


def scores(rows: Sequence[Row]) -> list[Score]:
    """The mean over the spaces of one strategy, seed by seed, at each of ``CHECKPOINTS``."""
    seeds = min(len(row.fractions) for row in rows)
    return [
        score([fmean(row.fractions[seed][at] for row in rows) for seed in range(seeds)])
        for at in range(len(CHECKPOINTS))
    ]


def _facts(rows: Sequence[Row]) -> Iterator[str]:
    spaces = sorted({row.space for row in rows})
    yield f"Versions: {', '.join(sorted({row.project for row in rows}))}."
    yield f"{len(spaces)} spaces: {', '.join(spaces)}."


def _table(rows: Sequence[Row], kernel: str, strategies: Sequence[str]) -> Iterator[str]:
    yield f"| strategy | {' | '.join(map(str, CHECKPOINTS))} | seeds | CPU seconds per search |"
    yield f"| --- |{' --- |' * len(CHECKPOINTS)} --: | --: |"
    for strategy in strategies:
        own = [row for row in _of(rows, strategy) if kernel in (ALL, row.kernel)]
        found = " | ".join(f"{s.mean:.3f} ({s.low:.3f} .. {s.high:.3f})" for s in scores(own))
        seeds = min(len(row.fractions) for row in own)
        yield f"| {strategy} | {found} | {seeds} | {fmean(row.seconds for row in own):.2f} |"


def _of(rows: Sequence[Row], strategy: str) -> list[Row]:
    return [row for row in rows if row.strategy == strategy]
