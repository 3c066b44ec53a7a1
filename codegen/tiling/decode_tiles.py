"""Default tiles of decode, which reads each state once: smaller tiles for few states."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tiling.tiles import narrowed

FEW = 128
"""The most states whose tiles of 8 channels run at once on 132 SMs: 2048 of about 2700 tiles."""


def decode_tiles(BV: Axis, problem: Problem) -> Mapping[str, Value]:
    """A narrower default for few states, whose tiles then spread over more SMs."""
    if problem.sequences * problem.HV > FEW:
        return {}
    return {"BV": narrowed(BV, 8, problem.V, least=1)}
