"""A grid of cases of which ``make test`` runs every second one, and ``make exhaustive`` all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def every_second(*axes: Sequence[Any]) -> list[ParameterSet]:
    """All combinations, as a checkerboard: those next to a case that runs are ``exhaustive``.

    With three axes or more, any two values of two axes meet in a case that runs.
    """
    return [
        pytest.param(
            *(axis[i] for axis, i in zip(axes, places, strict=True)),
            marks=pytest.mark.exhaustive if sum(places) % 2 else (),
        )
        for places in product(*(range(len(axis)) for axis in axes))
    ]
