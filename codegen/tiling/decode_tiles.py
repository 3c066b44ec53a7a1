"""Tiles of stages that read a state once, which a batch of few states cuts smaller."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tiling.tiles import narrowed

FEW = 128
"""States whose tiles of 8 channels all run at once on a GPU of 132 SMs: 2048 of about 2700."""


def decode_tiles(BV: Axis, problem: Problem) -> Mapping[str, Value]:
    """The width of a tile where it is not the usual: small ones of few states are done sooner."""
    if problem.sequences * problem.HV > FEW:
        return {}
    return {"BV": narrowed(BV, 8, problem.V, least=1)}
