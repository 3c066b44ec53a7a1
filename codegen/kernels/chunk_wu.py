"""Stage chunk_wu: A times the weighted keys and values of each chunk, w and u of the WY form."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import DOT, LOADS, launch_axes
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import no_loop_reasons, register_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import count, head_width_reasons, narrow_fp32, tile

BK = Axis("BK", (32, 64, 128), 64, "key channels per tile")
BV = Axis("BV", (32, 64, 128), 64, "value channels per tile")
STAGES = 2


def _tiles(problem: Problem, config: Config) -> tuple[int, int]:
    return tile(int(config["BK"]), problem.K), tile(int(config["BV"]), problem.V)


def _one_tile(problem: Problem, config: Config) -> bool:
    width_k, width_v = _tiles(problem, config)
    return count(problem.K, width_k) == count(problem.V, width_v) == 1


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    width_k, width_v = _tiles(problem, config)
    gated = problem.rule.gate == "scalar" and not config["gate_free"]
    return {"GATED": gated, "BK": width_k, "BV": width_v}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = head_width_reasons(BK, BV, problem, config)
    if _one_tile(problem, config):
        why = f"one tile holds K={problem.K} and one holds V={problem.V}"
        reasons += no_loop_reasons(config, STAGES, why)
    BT, widest = int(config["BT"]), max(_tiles(problem, config))
    what = f"A of {BT} x {BT} with a tile of w or u, {BT} x {widest},"
    return reasons + register_reasons(what, BT * (BT + widest), config, target)


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate != "none" else ()
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    return ("k", "v", "beta", "A", *gate, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("w", "u")


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (sizes.B * problem.HV, sizes.NT)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """With tiles of fp32 and of a vector gate the loads of a pipeline spill."""
    narrow = narrow_fp32(BK, BV, problem)
    if problem.dtype != "fp32" or problem.rule.gate != "vector" or _one_tile(problem, narrow):
        return narrow
    return {**narrow, "num_stages": 1}


SPEC = KernelSpec(
    name="chunk_wu",
    template="triton/chunk_wu",
    doc="w and u, from which v_new = u - w S, the value that each token writes into the state S.",
    equation={
        "other": """
    w = A (beta exp(gc) k),  u = A (beta v)
    with gate_free, A comes without the decay and is first multiplied by exp(gc_i - gc_j)
    """,
        "vector": """
    w = A (beta exp(gc) k),  u = A (beta v)
    """,
    },
    shared=("BT", "store", "gate_free"),
    axes=(
        BK,
        BV,
        DOT,
        LOADS,
        *launch_axes(warps=(2, 4, 8), stages=(1, 2, 3), default_stages=STAGES),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    grid=_grid,
    context=_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
