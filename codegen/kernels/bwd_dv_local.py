"""Stage bwd_dv_local: the gradient of what each token writes, from the outputs of its own chunk."""

from __future__ import annotations

from functools import partial

from gdn_ops.codegen.axes import DOT, LOADS, launch_axes
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import no_loop_reasons, register_reasons, same_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import count, head_width_reasons, narrow_fp32, tile

# one program of 128 value channels computes the scores of its chunk once
BK = Axis("BK", (32, 64, 128), 128, "key channels per tile")
BV = Axis("BV", (32, 64, 128), 128, "value channels per program")
STAGES = 2


def _tiles(problem: Problem, config: Config) -> dict[str, int]:
    return {
        "BK": tile(int(config["BK"]), problem.K),
        "BV": tile(int(config["BV"]), problem.V),
    }


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    if problem.rule.gate == "vector":
        return ("P", "do", *packed)
    return ("q", "k", *gate, "do", *packed)


def _problem_scalars(problem: Problem, config: Config) -> tuple[str, ...]:
    return () if problem.rule.gate == "vector" else ("scale",)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("dv_local",)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    slices = count(problem.V, tile(int(config["BV"]), problem.V))
    return (sizes.B * problem.HV, sizes.NT, slices)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = head_width_reasons(BK, BV, problem, config)
    tiles = _tiles(problem, config)
    if not target.accumulates_in_tensor_memory(int(config["num_warps"])):
        # the scores are no longer held in fp32 when dv_local is summed
        rows = int(config["BT"])
        what = f"the scores of a chunk, {rows} x {rows},"
        reasons += register_reasons(what, rows * rows, config, target)
        what = f"dv_local of {rows} x {tiles['BV']}"
        reasons += register_reasons(what, rows * tiles["BV"], config, target)
    if problem.rule.gate == "vector":
        return reasons + _idle_reasons(problem, config)
    if count(problem.K, tiles["BK"]) == 1:
        reasons += no_loop_reasons(config, STAGES, f"one tile holds K={problem.K}")
    return reasons


def _idle_reasons(problem: Problem, config: Config) -> list[str]:
    """Refuse all but one value of the axes of q k^T: with a vector gate P is read instead."""
    usual = SPEC.default(problem)
    reasons = []
    for name in ("BK", "num_stages"):
        reasons += same_reasons(name, config, usual[name], "because P is read, not computed")
    return reasons


SPEC = KernelSpec(
    name="bwd_dv_local",
    template="triton/bwd_dv_local",
    doc="the gradient of v_new by the outputs of its chunk.",
    equation={
        "other": """
    dv_local = P^T do,  P = scale tril(q k^T . G),  G_ij = exp(gc_i - gc_j)
    """,
        "vector": """
    dv_local = P^T do
    """,
    },
    shared=("BT", "store"),
    axes=(
        BK,
        BV,
        DOT,
        LOADS,
        *launch_axes(warps=(2, 4, 8), stages=(1, 2, 3, 4), default_stages=STAGES),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    problem_scalars=_problem_scalars,
    grid=_grid,
    context=_tiles,
    refusals=_refusals,
    problem_defaults=partial(narrow_fp32, BK, BV),
)
