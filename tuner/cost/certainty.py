"""How sure the cost model is of its times and of its choices."""

from __future__ import annotations

from collections.abc import Mapping
from math import erf, exp, log, sqrt

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant

ERRORS: Mapping[str, float] = {"triton": 0.14, "gluon": 0.36, "torch": 0.14}
"""Root mean square of log(predicted / published), by language: of FLA's Triton kernels, and of
FlashQLA's kernels with partitions, each fitted without that kind (``python -m bench.cost_fit``)."""
FITTED = "sm_90"
"""The architecture of the published times."""
ELSEWHERE = 2.0
"""How many times larger the error is taken to be on other architectures. An assumption: no
times of kernels that could be compiled here were published for them."""
TAIL = 1.645
"""Standard deviations on each side of 90 % of a normal distribution."""


def spread(variant: Variant, target: Target) -> float:
    """The standard deviation of the logarithm of a variant's predicted over its true time."""
    known = max(ERRORS[KERNELS[name].language] for name, _ in variant.stages)
    return known * (1.0 if target.arch == FITTED else ELSEWHERE)


def interval(seconds: float, spread: float) -> tuple[float, float]:
    """The bounds of a predicted time: the true one is between them in 9 of 10 cases."""
    return seconds * exp(-TAIL * spread), seconds * exp(TAIL * spread)


def lead(first: tuple[float, float], second: tuple[float, float]) -> float:
    """The probability that the first is faster than the second, if their errors are independent.

    Two plans that share stages err alike, so their order is surer than this.

    Args:
        first, second: predicted seconds and spread.
    """
    difference = log(second[0] / first[0])
    width = sqrt(first[1] ** 2 + second[1] ** 2)
    if not width:
        return float(difference > 0) if difference else 0.5
    return 0.5 * (1.0 + erf(difference / (width * sqrt(2.0))))
