"""Stage segment_map_sm90: what segment_map computes, for Hopper, by the walk of scan_sm90."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.kernels import segment_map
from gdn_ops.codegen.kernels.scan_sm90 import BV, WALK_AXES, slices, tile_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes

REGISTERS = Axis(
    "maxnreg", (128,), 128, "registers per thread on average: two programs per SM", launch=True
)
MAPS = 2
"""h_local and M, which are of one size as K = V."""


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (MAPS * (problem.V // BV) * sizes.NS * problem.HV,)


def _blocks(problem: Problem, config: Config) -> Mapping[str, tuple[int, int]]:
    BT = int(config["BT"])
    return {"k": (BT, problem.K), "v": (BT, BV), "A": (BT, BT)}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return tile_reasons(SPEC.name, problem) + segment_map.limit_reasons(problem, config)


SPEC = replace(
    segment_map.SPEC,
    name="segment_map_sm90",
    template="gluon/segment_map_sm90",
    equation="""
    n = (beta (v^T - exp(gc) (S k^T))) A^T,  S of [V, K] or [K, K]
    S <- exp(gl) S + (exp(gl - gc) n) k,  gl = gc of the chunk's last token
    h_local^T is S of S = 0; M^T is S of the identity, without v
    """,
    axes=(segment_map.LIMIT, *WALK_AXES, REGISTERS),
    grid=_grid,
    context=slices,
    refusals=_refusals,
    problem_defaults=lambda problem: {},
    archs=("sm_90",),
    blocks=_blocks,
)
