"""Stage bwd_dv_local: the gradient of what each token writes, from the outputs of its own chunk."""

from __future__ import annotations

from functools import partial

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.launch_axes import launch_axes
from gdn_ops.codegen.tiling.tiles import count, narrow_fp32, register_reasons, tile, twin_reasons

# one program of 128 value channels computes the scores of its chunk once
BK = Axis("BK", (32, 64, 128), 128, "key channels of a tile")
BV = Axis("BV", (32, 64, 128), 128, "value channels of one program")
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
    reasons = [
        *twin_reasons(BK, config, problem.K),
        *twin_reasons(BV, config, problem.V),
    ]
    tiles = _tiles(problem, config)
    # a warp group of sm_100 to sm_110 keeps its sums in tensor memory
    if not (100 <= target.capability < 120 and int(config["num_warps"]) >= 4):
        # the scores are an operand by the time dv_local is summed
        rows = int(config["BT"])
        what = f"the scores of a chunk, {rows} x {rows},"
        reasons += register_reasons(what, rows * rows, config, target)
        what = f"dv_local of {rows} x {tiles['BV']}"
        reasons += register_reasons(what, rows * tiles["BV"], config, target)
    if problem.rule.gate == "vector":
        return reasons + _idle_reasons(problem, config)
    if count(problem.K, tiles["BK"]) == 1 and config["num_stages"] != STAGES:
        reasons.append(
            f"num_stages={config['num_stages']} is the same as num_stages={STAGES}: "
            f"BK={config['BK']} takes K={problem.K} in one tile and leaves no loop to pipeline"
        )
    return reasons


def _idle_reasons(problem: Problem, config: Config) -> list[str]:
    """Refuse all but one value of the axes of q k^T, which a vector gate's P is read instead of."""
    usual = SPEC.default(problem)
    return [
        f"{name}={config[name]} is the same as {name}={usual[name]} where P is read"
        for name in ("BK", "num_stages")
        if config[name] != usual[name]
    ]


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
        Axis("dot", ("ieee", "tf32", "tf32x3", "native"), "native", "precision of the products"),
        Axis("loads", ("pointer", "descriptor"), "pointer", "how tiles of q, k and do are read"),
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
