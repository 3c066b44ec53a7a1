"""Simulate the gate of `gdn check`: how often it is right, and how many pairs it takes.

Its rates are printed beside the published ones. Nothing is timed, and no GPU is needed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from math import log
from random import Random

from bench.check.cells import CELLS, Cell, Rates
from gdn_ops.tuner.check.gate import LOOKS, Limits, decide
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.report import console

RUNS = 800
SEED = 15
OUTLIERS = 0.1
"""Part of the processes that are outliers, and the mean by which these are slower."""

COLUMNS = ("noise of each side", "floor>", "true ratio>", "regressed / passed / inconclusive %>",
           "published>", "pairs>", "published>")  # fmt: skip


def simulate(cell: Cell, *, runs: int = RUNS, seed: int = SEED) -> Rates:
    """The rates of one cell. *Improved* counts as passed: the head is not slower."""
    random = Random(f"{cell.name}, seed {seed}")
    ended = [_run(cell, random) for _ in range(runs)]
    states = Counter(state for state, _ in ended)
    passed = states[State.PASSED] + states[State.IMPROVED]
    counts = (states[State.REGRESSED], passed, states[State.INCONCLUSIVE])
    regressed, passing, inconclusive = (100 * count / runs for count in counts)
    return Rates(regressed, passing, inconclusive, sum(pairs for _, pairs in ended) / runs)


def _run(cell: Cell, random: Random) -> tuple[State, int]:
    """One comparison: its verdict, and the pairs that it took."""
    limits = Limits(floor=cell.floor)
    log_ratios: list[float] = []
    for look in LOOKS:
        while len(log_ratios) < look.pairs:
            log_ratios.append(log(cell.true * _time(cell, random) / _time(cell, random)))
        state = decide(log_ratios, limits).state
        if state is not None:
            return state, look.pairs
    raise AssertionError("the last look decided nothing")


def _time(cell: Cell, random: Random) -> float:
    """The time of one process, relative to the true one."""
    time = 1 + cell.noise * random.gauss(0, 1)
    if cell.outliers and random.random() < OUTLIERS:
        time *= 1 + random.expovariate(1 / OUTLIERS)
    return time


def _row(cell: Cell, ours: Rates) -> tuple[str, ...]:
    name = f"{cell.noise:.0%}" + (" + outliers" if cell.outliers else "")
    pairs = (f"{ours.pairs:.1f}", f"{cell.published.pairs:.1f}")
    return (name, f"{cell.floor:.0%}", f"{cell.true:.2f}",
            _text(ours), _text(cell.published), *pairs)  # fmt: skip


def _text(rates: Rates) -> str:
    verdicts = (rates.regressed, rates.passed, rates.inconclusive)
    return " / ".join(f"{round(rate, 1):g}" for rate in verdicts)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.check.simulation", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="comparisons per row (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error(f"--runs {arguments.runs} must be >= 1")
    rows = [_row(c, simulate(c, runs=arguments.runs, seed=arguments.seed)) for c in CELLS]
    console.table(COLUMNS, rows)


if __name__ == "__main__":
    main()
