"""Gaussian process: predicts the times of untried configs from those of tried ones, with its doubt.

The covariance of two configs is a Matern 5/2 kernel with a length scale per feature, plus a linear
kernel of the additive features: the effects of single axes are learnt from few trials, and what
is left over from the neighbourhood. The length scales, the weight of the linear kernel and the
noise maximise the marginal likelihood times log-normal priors; a few steps of Rprop after each
trial follow the maximum.
"""

from __future__ import annotations

from math import exp, log
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from gdn_ops.tuner.strategies.features import Array, Features

Rows = NDArray[np.intp]
Doubles = NDArray[np.float64]
T = TypeVar("T", Array, Doubles)

LINEAR, NOISE = 0.3, 1e-2
"""Prior medians of the variances of the linear kernel and the noise; the Matern kernel has 1."""
NOISE_RANGE = (log(1e-5), log(0.5))
LINEAR_RANGE = (-6.0, 4.0)
JITTER = 1e-6
BLOCKS = 4
"""Blocks of rows in which a triangular matrix is multiplied."""
FIRST_STEP, STEP_RANGE, FASTER, SLOWER = 0.2, (1e-3, 0.5), 1.3, 0.5
"""Rprop's steps of the logarithms of the parameters."""


class GaussianProcess:
    """A Gaussian process over the rows of features."""

    def __init__(self, features: Features) -> None:
        self._position, self._additive = features.position, features.additive
        count = self._position.shape[1]
        self._prior = np.append(np.full(count, -0.5 * log(count)), [log(LINEAR), log(NOISE)])
        self._log = self._prior.copy()
        self._steps = np.full(count + 2, FIRST_STEP)
        self._slope = np.zeros(count + 2)

    def fit(self, rows: Rows, y: Doubles, *, steps: int) -> None:
        """Move the parameters towards the most likely ones for values ``y`` of the rows."""
        position = self._position[rows].astype(np.float64)
        additive = self._additive[rows].astype(np.float64)
        linear = additive @ additive.T
        for _ in range(steps):
            self._step(self._gradient(position, linear, y))

    def predict(self, rows: Rows, y: Doubles, between: Array, others: Rows) -> tuple[Array, Array]:
        """Mean and standard deviation at other rows.

        Args:
            between: ``covariance(rows, others)``.
        """
        own = self.own(rows)
        own[np.diag_indices_from(own)] += exp(self._log[-1]) + JITTER
        inverse = np.linalg.inv(np.linalg.cholesky(own))
        whitened = inverse @ y
        variance = max(float(whitened @ whitened) / len(y), 1e-12)
        solved = _lower_times(inverse.astype(np.float32), between)
        linear = np.float32(exp(self._log[-2]))
        prior = 1 + linear * np.einsum("ij,ij->i", self._additive[others], self._additive[others])
        left = np.maximum(prior - np.einsum("ij,ij->j", solved, solved), 1e-6)
        return whitened.astype(np.float32) @ solved, np.sqrt(left * np.float32(variance))

    def mean(self, rows: Rows, y: Doubles, others: Rows) -> Array:
        """The mean at other rows alone, which costs less than ``predict``."""
        own = self.own(rows)
        own[np.diag_indices_from(own)] += exp(self._log[-1]) + JITTER
        weights = np.linalg.solve(own, y).astype(np.float32)
        result: Array = weights @ self.covariance(rows, others)
        return result

    def covariance(self, rows: Rows, others: Rows) -> Array:
        """The covariance of each row with each other one, in single precision: they are many."""
        return self._covariance(
            self._position[rows], self._position[others],
            self._additive[rows], self._additive[others],
        )  # fmt: skip

    def own(self, rows: Rows) -> Doubles:
        """The covariance of rows among themselves, precise enough to be inverted."""
        position = self._position[rows].astype(np.float64)
        additive = self._additive[rows].astype(np.float64)
        return self._covariance(position, position, additive, additive)

    def _covariance(self, first: T, second: T, additive: T, others: T) -> T:
        scales = np.exp(self._log[:-2]).astype(first.dtype)
        result: T = _matern(_squared_distances(first * scales, second * scales))[0]
        linear = first.dtype.type(exp(self._log[-2]))
        np.add(result, (additive * linear) @ others.T, out=result)
        return result

    def _gradient(self, position: Doubles, linear: Doubles, y: Doubles) -> Doubles:
        """Gradient of the log posterior in the logarithms of the parameters."""
        scaled = position * np.exp(self._log[:-2])
        matern, decay = _matern(_squared_distances(scaled, scaled))
        weight, noise = exp(self._log[-2]), exp(self._log[-1])
        own = matern + weight * linear
        own[np.diag_indices_from(own)] += noise + JITTER
        inverse = np.linalg.inv(own)
        solved = inverse @ y
        variance = max(float(y @ solved) / len(y), 1e-12)  # the best one for these parameters
        slope = 0.5 * (np.outer(solved, solved) / variance - inverse)
        pairs = slope * decay
        apart = (scaled**2 * pairs.sum(1)[:, None]).sum(0) - (scaled * (pairs @ scaled)).sum(0)
        others = [np.sum(slope * linear) * weight, np.trace(slope) * noise]
        gradient: Doubles = np.append(4 * apart, others) - (self._log - self._prior)
        return gradient

    def _step(self, gradient: Doubles) -> None:
        same = gradient * self._slope
        factor = np.where(same > 0, FASTER, np.where(same < 0, SLOWER, 1.0))
        self._steps = np.clip(self._steps * factor, *STEP_RANGE)
        self._log = self._log + np.sign(gradient) * self._steps
        self._log[-2] = np.clip(self._log[-2], *LINEAR_RANGE)
        self._log[-1] = np.clip(self._log[-1], *NOISE_RANGE)
        self._slope = gradient


def _lower_times(lower: Array, right: Array) -> Array:
    """The product of a lower triangular matrix and another one, without most of the zeros."""
    size = -(-len(lower) // BLOCKS)
    result = np.empty_like(right)
    for start in range(0, len(lower), size):
        end = min(start + size, len(lower))
        np.matmul(lower[start:end, :end], right[:end], out=result[start:end])
    return result


def _squared_distances(first: T, second: T) -> T:
    # in place, because the memory of a large temporary array is slow to get
    squared: T = (-2 * first) @ second.T
    squared += np.sum(first**2, 1)[:, None]
    squared += np.sum(second**2, 1)[None]
    np.maximum(squared, 0, out=squared)
    return squared


def _matern(squared: T) -> tuple[T, T]:
    """The Matern 5/2 kernel and its derivative by the squared distance."""
    squared *= 5
    root = np.sqrt(squared)
    decay = np.negative(root)
    np.exp(decay, out=decay)
    squared *= decay
    squared *= decay.dtype.type(1 / 3)
    root += 1
    decay *= root
    squared += decay
    decay *= decay.dtype.type(-5 / 6)
    return squared, decay
