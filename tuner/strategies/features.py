"""Features of configs, as a model of their times sees them.

Tile sizes and counts act through their logarithms, through their products (threads per block, bytes
of a tile) and through the powers of two that they hold; a model that knows these needs fewer
trials. Nothing depends on the axes' names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gdn_ops.codegen.axis import Axis
from gdn_ops.tuner.strategies.search_space import SearchSpace

Array = NDArray[np.float32]
Indices = NDArray[np.intp]
MAX_PAIRED = 8
"""Most axes whose products in pairs are features."""
ONE_HOT_WEIGHT = 0.5
"""Share of the values on their own in ``additive``, beside that of the trends over them."""


@dataclass(frozen=True)
class Features:
    """A row per config.

    Args:
        position: features in [0, 1]; configs that are near each other have similar times.
        additive: features in which the logarithm of the time is roughly linear; the rows have a
            mean squared norm of about 1.
        indices: as ``axis_indices``.
    """

    position: Array
    additive: Array
    indices: Indices


def features(space: SearchSpace) -> Features:
    """The features of every config, in the order of ``space.configs``."""
    indices = axis_indices(space)
    varying = [i for i, axis in enumerate(space.axes) if len(axis.values) > 1]
    axes, chosen = [space.axes[i] for i in varying], [indices[:, i] for i in varying]
    columns: list[NDArray[np.float64]] = []
    logs: list[NDArray[np.float64]] = []
    for axis, choice in zip(axes, chosen, strict=True):
        columns += [column[choice] for column in _columns(axis)]
        if _is_size(axis) and len(logs) < MAX_PAIRED:
            logs.append(np.log2(np.array(axis.values, dtype=np.float64))[choice])
    columns += [first + second for first, second in combinations(logs, 2)]
    if len(logs) > 2:
        columns.append(np.sum(logs, axis=0))
    position = [_scaled(column) for column in columns if np.ptp(column) > 0]
    if not position:
        nothing = np.zeros((len(space.configs), 1), np.float32)
        return Features(nothing, nothing, indices)
    one_hot = [choice == i for a, choice in zip(axes, chosen, strict=True) for i in _singles(a)]
    stacked = np.stack(position, 1).astype(np.float32)
    return Features(stacked, _additive(position, one_hot), indices)


def axis_indices(space: SearchSpace) -> Indices:
    """The index of each value of each config among its axis' values, a column per axis."""
    index = [{value: i for i, value in enumerate(axis.values)} for axis in space.axes]
    rows = [
        [found[config[axis.name]] for found, axis in zip(index, space.axes, strict=True)]
        for config in space.configs
    ]
    return np.array(rows, dtype=np.intp).reshape(len(rows), len(index))


def _columns(axis: Axis) -> Iterator[NDArray[np.float64]]:
    """Features of one axis, by the index of its value."""
    if not is_number(axis):
        hot = np.eye(len(axis.values))
        yield from hot[:1] if len(axis.values) == 2 else hot
        return
    values = np.array(axis.values, dtype=np.float64)
    yield values
    if _is_size(axis):
        yield np.log2(values)
        twos = np.array([(int(v) & -int(v)).bit_length() - 1 for v in axis.values])
        if np.any(2.0**twos != values):
            yield twos.astype(np.float64)


def is_number(axis: Axis) -> bool:
    """Whether the axis has integers, whose order and distance mean something."""
    return all(type(value) is int for value in axis.values)


def _is_size(axis: Axis) -> bool:
    """Whether the axis has numbers > 0, whose ratios matter."""
    return is_number(axis) and all(int(value) > 0 for value in axis.values)


def _singles(axis: Axis) -> range:
    return range(len(axis.values) if len(axis.values) > 2 else 0)


def _scaled(column: NDArray[np.float64]) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = (column - column.min()) / np.ptp(column)
    return scaled


def _additive(
    position: Sequence[NDArray[np.float64]], one_hot: Sequence[NDArray[np.bool_]]
) -> Array:
    trends = []
    for column in position:
        centred = column - column.mean()
        squared = centred**2 - np.mean(centred**2)
        trends += [centred, squared] if len(np.unique(column.round(6))) > 2 else [centred]
    spread = np.stack(trends, 1)
    spread /= spread.std(0) * np.sqrt(spread.shape[1])
    if not one_hot:
        return spread.astype(np.float32)
    hot = np.stack(one_hot, 1).astype(np.float64)
    hot -= hot.mean(0)
    hot *= np.sqrt(ONE_HOT_WEIGHT / np.mean(np.sum(hot**2, 1)))
    return np.concatenate([spread, hot], 1).astype(np.float32)
