"""How much each parameter of a search matters: a small analysis of variance of the times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from gdn_ops.codegen.axis import Value
from gdn_ops.tuner.page.searches import Attempt

LEAST_CONFIGS = 8
"""With fewer configs that were timed, their variance says nothing about single parameters."""
RIDGE = 0.5
"""Penalty of the regression; without one, a value that was seen once would explain its trial."""


@dataclass(frozen=True)
class Importance:
    """The share of the variance of log time that each parameter explains by itself.

    Args:
        shares: by parameter, the largest first; only parameters with several values.
        rest: what parameters together, and noise, leave unexplained.
        configs: the number of different configs that were timed.
    """

    shares: dict[str, float]
    rest: float
    configs: int


def importance(attempts: Sequence[Attempt]) -> Importance | None:
    """Fit the logarithm of time as a sum of one effect per value of each parameter.

    Returns:
        None if too few configs were timed, if all took the same time, or if no parameter varies.
    """
    times: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for attempt in attempts:
        if attempt.seconds is not None:
            point = tuple((name, repr(value)) for name, value in sorted(attempt.parameters.items()))
            times.setdefault(point, []).append(log(attempt.seconds))
    if len(times) < LEAST_CONFIGS:
        return None
    rows = [dict(point) for point in times]
    names = [name for name in rows[0] if len({row.get(name) for row in rows}) > 1]
    y = np.array([float(np.median(logs)) for logs in times.values()])
    y -= y.mean()
    total = float(y @ y)
    if not names or total <= 0.0:
        return None
    columns = {name: _indicators([row.get(name) for row in rows]) for name in names}
    design = np.concatenate([columns[name] for name in names], axis=1)
    inner = design.T @ design + RIDGE * np.eye(design.shape[1])
    weights = np.linalg.solve(inner, design.T @ y)
    effects, start = {}, 0
    for name in names:
        width = columns[name].shape[1]
        effects[name] = float(np.var(columns[name] @ weights[start : start + width]))
        start += width
    residual = y - design @ weights
    explained = min(1.0, max(0.0, 1.0 - float(residual @ residual) / total))
    scale = explained / (sum(effects.values()) or 1.0)
    ordered = sorted(effects, key=lambda name: -effects[name])
    return Importance(
        {name: effects[name] * scale for name in ordered}, 1.0 - explained, len(times)
    )


def _indicators(
    values: Sequence[str | Value | None],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """One centered column per value."""
    known = list(dict.fromkeys(values))
    table = np.array([[float(value == one) for one in known] for value in values])
    centered: np.ndarray[tuple[int, int], np.dtype[np.float64]] = table - table.mean(axis=0)
    return centered
