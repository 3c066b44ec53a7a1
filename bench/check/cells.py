"""The cells of the gate's simulation, with the rates that were published for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rates:
    """Percentages of the runs by verdict, and the mean number of pairs of a run."""

    regressed: float
    passed: float
    inconclusive: float
    pairs: float


@dataclass(frozen=True)
class Cell:
    """One condition of the simulation.

    Args:
        noise: standard deviation between processes of one side, relative to its time.
        outliers: whether a tenth of the processes are slower by a random amount, 10 % on average.
        floor: floor of the gate.
        true: the true ratio of the head's time to the base's.
        published: rates of 800 runs.
    """

    noise: float
    outliers: bool
    floor: float
    true: float
    published: Rates

    @property
    def name(self) -> str:
        outliers = " + outliers" if self.outliers else ""
        return f"{self.noise:.0%}{outliers}, floor {self.floor:.0%}, true {self.true:.2f}"


TRUE = (1.00, 1.01, 1.03, 1.05, 1.08)

_PUBLISHED: dict[tuple[float, bool, float], tuple[Rates, ...]] = {
    (0.01, False, 0.00): (
        Rates(0, 100, 0, 8.0),
        Rates(0, 100, 0, 8.8),
        Rates(73, 3, 25, 14.5),
        Rates(100, 0, 0, 8.0),
        Rates(100, 0, 0, 8.0),
    ),
    (0.01, True, 0.00): (
        Rates(0, 96, 4, 12.9),
        Rates(0.4, 92, 7, 14.3),
        Rates(64, 3, 33, 17.6),
        Rates(97, 0, 3, 12.2),
        Rates(99.5, 0, 0, 10.7),
    ),
    (0.02, False, 0.00): (
        Rates(0.2, 99, 0, 11.2),
        Rates(0.9, 86, 14, 16.9),
        Rates(66, 4, 30, 17.9),
        Rates(100, 0, 0, 9.4),
        Rates(100, 0, 0, 8.1),
    ),
    (0.02, True, 0.00): (
        Rates(0.2, 90, 10, 15.6),
        Rates(2.5, 63, 34, 19.2),
        Rates(56, 4, 41, 20.2),
        Rates(95, 0, 5, 14.2),
        Rates(99.4, 0, 1, 11.0),
    ),
    (0.02, True, 0.01): (
        Rates(0.1, 89, 11, 15.7),
        Rates(0.2, 66, 34, 19.4),
        Rates(38, 2, 60, 23.1),
        Rates(89, 0, 11, 16.5),
        Rates(99, 0, 1, 11.5),
    ),
}

CELLS = tuple(
    Cell(*condition, true, rates)
    for condition, row in _PUBLISHED.items()
    for true, rates in zip(TRUE, row, strict=True)
)
