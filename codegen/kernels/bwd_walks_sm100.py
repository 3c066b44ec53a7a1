"""Stage bwd_walks_sm100: what bwd_walks_sm90 computes, for Blackwell, in tensor memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import bwd_walks_sm90, scan_sm90, scan_sm100
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    slices = problem.V // int(config["BV"])
    return (bwd_walks_sm90.WALKS * slices * sizes.N * problem.HV,)


def _blocks(problem: Problem, config: Config) -> Mapping[str, tuple[int, int]]:
    BT, BV, K = int(config["BT"]), int(config["BV"]), problem.K
    keys, rows, state = (BT, K), (BT, BV), (K, BV)
    return {"q": keys, "k": keys, "v": rows, "A": (BT, BT), "do": rows, "h": state, "dh": state}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = scan_sm90.tile_reasons(SPEC.name, problem)
    return reasons or scan_sm100.width_reasons(problem, config)


SPEC = replace(
    bwd_walks_sm90.SPEC,
    name="bwd_walks_sm100",
    template="gluon/bwd_walks_sm100",
    axes=scan_sm100.SPEC.axes,
    grid=_grid,
    context=scan_sm100.SPEC.context,
    refusals=_refusals,
    problem_defaults=scan_sm100.SPEC.problem_defaults,
    archs=scan_sm100.SPEC.archs,
    blocks=_blocks,
)
