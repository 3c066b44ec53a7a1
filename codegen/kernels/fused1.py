"""Stage fused1: the forward of a chunk, gate to state, walked with the state in registers."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tiling.launch_axes import launch_axes
from gdn_ops.codegen.tiling.state_walk import EXP, exp_reasons, state_grid, state_tiles
from gdn_ops.codegen.tiling.tiles import narrowed, register_reasons, twin_reasons

# wide tiles of k and few columns of the state leave the registers to the inverse
BK = Axis("BK", (32, 64, 128), 128, "key channels of a tile of the state")
BV = Axis("BV", (16, 32, 64, 128), 16, "value channels of one program")
MERGE_DOT = Axis("merge_dot", ("tf32", "tf32x3", "fp16"), "fp16", "precision inside the inverse")
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
    tiles, BT = state_tiles(problem, config), int(config["BT"])
    rows, columns = tiles["NK"] * tiles["BK"], tiles["BV"]
    reasons = twin_reasons(BK, config, problem.K) + twin_reasons(BV, config, problem.V)
    reasons += exp_reasons(problem, config)
    reasons += _solve_reasons(problem, config, target)
    values = rows * columns + BT * (2 * BT + columns)
    what = (
        f"a state of {rows} x {columns} with a chunk's inverse and decays, 2 of {BT} x {BT}, and "
        f"its outputs,"
    )
    return reasons + register_reasons(what, values, config, target)


def _solve_reasons(problem: Problem, config: Config, target: Target) -> list[str]:
    """Ways to invert that come to another's, or that the target has not."""
    reasons, merge_dot = [], config["merge_dot"]
    if config["solve"] == "rows":
        if merge_dot != MERGE_DOT.default:
            reasons.append(f"solve=rows multiplies nothing: merge_dot={merge_dot} does not matter")
        if config["unroll"]:
            reasons.append("solve=rows has as many steps as tokens; unroll=True is for doubling")
    elif merge_dot != "tf32x3" and problem.dtype == "fp32":
        reasons.append(f"merge_dot={merge_dot} keeps 11 bits of fp32; use tf32x3 or solve=rows")
    if config["unroll"] and int(config["BT"]) >= 64 and 100 <= target.capability < 120:
        reasons.append(
            "unroll=True takes more tensor memory than the 512 columns of an SM in chunks of "
            f"{config['BT']}; use unroll=False"
        )
    looped = not config["unroll"] and config["num_stages"] != STAGES
    if looped:
        reasons.append(
            f"num_stages={config['num_stages']} is the same as num_stages={STAGES}: the loop of "
            "the inverse inside the walk leaves it without a pipeline; unroll=True has one"
        )
    return reasons


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Of fp32 neither wide tiles nor products inside the inverse, which are ieee on no GPU."""
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
        Axis("layout", ("KV", "VK"), "VK", "the state in registers as [K, V] or as [V, K]"),
        Axis("solve", ("rows", "doubling"), "doubling", "how the matrix is inverted"),
        MERGE_DOT,
        Axis("unroll", (False, True), False, "levels of doubling unrolled: the walk is pipelined"),
        Axis("dot", ("ieee", "tf32", "tf32x3", "native"), "native", "precision of the products"),
        Axis("loads", ("pointer", "descriptor"), "pointer", "how tiles of q, k, v are read"),
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
