"""Stage segment_bwd_map_sm90: what segment_bwd_map computes, for Hopper, by the walk back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import segment_bwd_map
from gdn_ops.codegen.kernels.scan_sm90 import BV, WALK_AXES, slices, tile_reasons
from gdn_ops.codegen.kernels.segment_map import LIMIT, limit_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (problem.V // BV * sizes.NS * problem.HV,)


def _blocks(problem: Problem, config: Config) -> Mapping[str, tuple[int, int]]:
    BT = int(config["BT"])
    keys = (BT, problem.K)
    return {"q": keys, "k": keys, "A": (BT, BT), "do": (BT, BV)}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return tile_reasons(SPEC.name, problem) + limit_reasons(problem, config)


SPEC = replace(
    segment_bwd_map.SPEC,
    name="segment_bwd_map_sm90",
    template="gluon/segment_bwd_map_sm90",
    equation="""
    P = scale tril(q k^T) . G,  G_ij = exp(gc_i - gc_j),  gl = gc of the chunk's last token
    dx = (do^T P + exp(gl - gc) (dS k^T)) A,  dS of [V, K]
    dS <- exp(gl) dS + (scale exp(gc) do^T) q - (beta exp(gc) dx) k, from the last chunk
    dh_local is dS of dS = 0, and of dht in a sequence's last segment
    """,
    axes=(LIMIT, *WALK_AXES),
    grid=_grid,
    context=slices,
    refusals=_refusals,
    problem_defaults=lambda problem: {},
    archs=("sm_90",),
    blocks=_blocks,
)
