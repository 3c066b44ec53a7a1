"""Prior: which configs are likely to be fast, judged by those that were fast for other problems.

It is the product over the axes of how often the winners have a value; of a number, the values next
to it count too. So it favours mixtures of winners, which differ from GPU to GPU in one or two axes.
The expected improvement is multiplied with a power of it that fades with the trials (Hvarfner et
al., "piBO", ICLR 2022): where the winners are no good, they are soon forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gdn_ops.codegen.axis import Axis
from gdn_ops.tuner.strategies.features import Array, Indices, is_number
from gdn_ops.tuner.strategies.gaussian_process import Rows

ANY = 0.1
"""Share of the probability that all values of an axis have alike, whatever the winners have."""
TRIALS = 5
"""The power of the prior at the first trial; at trial n it is this many nths."""


class Prior:
    """The prior of the configs of one space.

    Args:
        indices: as ``axis_indices`` of the space.
        winners: rows of the configs that were fast for other problems.
    """

    def __init__(self, axes: Sequence[Axis], indices: Indices, winners: Rows) -> None:
        self._axes, self._indices, self._winners = axes, indices, winners
        self._judged: Rows | None = None  # the winners that ``_logarithm`` is of
        self._logarithm = np.zeros(len(self._indices), np.float32)

    def weight(self, rows: Rows, failures: Sequence[int], *, trial: int) -> Array:
        """What the expected improvement of rows is multiplied with, in 0 .. 1.

        Args:
            failures: rows that failed here, so their values say nothing good.
            trial: how many trials the search has made besides the winners, from 1.
        """
        winners = np.setdiff1d(self._winners, failures)
        if self._judged is None or len(winners) != len(self._judged):
            self._judged, self._logarithm = winners, self._of(winners)
        result: Array = np.exp(self._logarithm[rows] * np.float32(TRIALS / trial))
        return result

    def neighbours(self, row: int, rows: Rows) -> NDArray[np.bool_]:
        """Which of the rows differ from a row in one axis."""
        differing = np.count_nonzero(self._indices[rows] != self._indices[row], axis=1)
        near: NDArray[np.bool_] = differing == 1
        return near

    def _of(self, winners: Rows) -> Array:
        """The logarithm of every config's prior; 0 for the likeliest."""
        result = np.zeros(len(self._indices))
        if len(winners):
            for axis, column in zip(self._axes, self._indices.T, strict=True):
                result += np.log(_shares(axis, column[winners]))[column]
        logarithm: Array = (result - result.max()).astype(np.float32)
        return logarithm


def _shares(axis: Axis, winners: Indices) -> NDArray[np.float64]:
    """The probability of each value of an axis."""
    count = len(axis.values)
    apart = np.abs(np.arange(count)[:, None] - winners[None])
    like = np.exp(-apart) if is_number(axis) and count > 2 else np.equal(apart, 0)
    weight: NDArray[np.float64] = like.mean(axis=1)
    weight *= (1 - ANY) / weight.sum()
    weight += ANY / count
    return weight
