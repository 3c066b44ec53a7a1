"""Stage scan_sm100: what scan_sm90 computes, for Blackwell, with the state in tensor memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.kernels import scan_sm90
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    return {"NV": problem.V // int(config["BV"])}


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (problem.V // int(config["BV"]) * sizes.N * problem.HV,)


def _blocks(problem: Problem, config: Config) -> Mapping[str, tuple[int, int]]:
    BT, BV, K = int(config["BT"]), int(config["BV"]), problem.K
    return {"q": (BT, K), "k": (BT, K), "v": (BT, BV), "A": (BT, BT), "o": (BT, BV)}


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    return {"BV": 128 if problem.V > 64 else 64}


def width_reasons(problem: Problem, config: Config) -> list[str]:
    """Why a program cannot have its number of value channels; empty if it can."""
    if int(config["BV"]) <= problem.V:
        return []
    return [f"BV={config['BV']} is more than the {problem.V} value channels of a head"]


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return scan_sm90.tile_reasons(SPEC.name, problem) or width_reasons(problem, config)


SPEC = replace(
    scan_sm90.SPEC,
    name="scan_sm100",
    template="gluon/scan_sm100",
    axes=(
        Axis("BV", (64, 128), 128, "value channels per program"),
        *(
            replace(axis, values=(8,), default=8) if axis.name == "num_warps" else axis
            for axis in scan_sm90.WALK_AXES
        ),
    ),
    grid=_grid,
    context=_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
    archs=("sm_100", "sm_103"),
    blocks=_blocks,
)
