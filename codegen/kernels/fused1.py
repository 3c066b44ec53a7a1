"""Stage fused1: the whole forward in one kernel, chunk by chunk with the state in registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gdn_ops.codegen.axes import DOT, EXP, LAYOUT, LOADS, launch_axes, merge_dot
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons, same_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import TENSOR_MEMORY_COLUMNS, Target
from gdn_ops.codegen.tiling.state_walk import exp_reasons, state_grid, state_shape, state_tiles
from gdn_ops.codegen.tiling.tiles import head_width_reasons, narrowed

# wide tiles of k and few columns of the state leave registers for the inverse
BK = Axis("BK", (32, 64, 128), 128, "key channels per tile of the state")
BV = Axis("BV", (16, 32, 64, 128), 16, "value channels per program")
MERGE_DOT = merge_dot(("tf32", "tf32x3", "fp16"), "fp16", "products inside the inverse")
STAGES = 2


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    raw = ("A_log", "dt_bias") if problem.dt_bias else ("A_log",)
    gate = ("g", *(raw if problem.gate_in_kernel else ())) if problem.rule.gate == "scalar" else ()
    initial = ("h0",) if problem.initial_state else ()
    packed = ("cu_seqlens",) if problem.varlen else ()
    return ("q", "k", "v", "beta", *gate, *initial, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("o", "ht") if problem.final_state else ("o",)


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    BT = int(config["BT"])
    return {
        **state_tiles(problem, config),
        "NC": 1,
        "BC": BT,
        "LEVELS": BT.bit_length() - 1,
    }


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    BT, (rows, columns) = int(config["BT"]), state_shape(problem, config)
    reasons = head_width_reasons(BK, BV, problem, config)
    reasons += exp_reasons(problem, config)
    reasons += _solve_reasons(problem, config, target)
    values = rows * columns + BT * (2 * BT + columns)
    what = (
        f"a state of {rows} x {columns} with a chunk's inverse and decays, each {BT} x {BT}, and "
        "its outputs"
    )
    return reasons + register_reasons(what, values, config, target)


def _solve_reasons(problem: Problem, config: Config, target: Target) -> list[str]:
    """Refuse ways to invert that give the same kernel as others or cannot run on the target."""
    reasons: list[str] = []
    merge_dot = config["merge_dot"]
    if config["solve"] == "rows":
        why = "for solve=rows, which has no products"
        reasons += same_reasons("merge_dot", config, MERGE_DOT.default, why)
        if config["unroll"]:
            reasons.append("unroll=True needs solve=doubling; solve=rows has one step per token")
    elif merge_dot != "tf32x3" and problem.dtype == "fp32":
        reasons.append(f"merge_dot={merge_dot} keeps 11 bits of fp32; use tf32x3 or solve=rows")
    if config["unroll"] and int(config["BT"]) >= 64 and target.tensor_memory:
        reasons.append(
            f"unroll=True with BT={config['BT']} needs more tensor memory than the "
            f"{TENSOR_MEMORY_COLUMNS} columns of an SM; use unroll=False"
        )
    if config["unroll"]:
        return reasons
    why = "because a loop with a loop inside, that of the inverse, has no pipeline; use unroll=True"
    return reasons + same_reasons("num_stages", config, STAGES, why)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Narrower tiles for fp32, and solve=rows, because merge_dot has no fp32 products."""
    if problem.dtype != "fp32":
        return {}
    return {"BK": narrowed(BK, 32, problem.K), "layout": "KV", "solve": "rows", "num_warps": 8}


SPEC = KernelSpec(
    name="fused1",
    template="triton/scan",
    doc="each chunk's gate, inverse and outputs, chunk after chunk, and the state after the last.",
    equation="""
    gc_t = sum of g_s over the tokens s <= t of the chunk,  G_ij = exp(gc_i - gc_j)
    A = (I + L)^-1,  L_ij = beta_i (k_i . k_j) G_ij for i > j, else 0
    n = A (beta (v - exp(gc) (k S)))
    o = scale (exp(gc) (q S) + tril(q k^T . G) n)
    S <- exp(gl) S + k^T (exp(gl - gc) n),  gl = gc of the chunk's last token
    """,
    shared=("BT",),
    axes=(
        BK,
        BV,
        replace(LAYOUT, default="VK"),
        Axis("solve", ("rows", "doubling"), "doubling", "how the matrix is inverted"),
        MERGE_DOT,
        Axis("unroll", (False, True), False, "unroll doubling, so that the walk is pipelined"),
        DOT,
        LOADS,
        EXP,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3), default_warps=4, default_stages=STAGES),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=state_grid,
    context=_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
