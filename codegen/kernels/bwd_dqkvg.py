"""Stage bwd_dqkvg: the gradients of q, k, v, beta and gc, chunk by chunk."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import DOT, LOADS, launch_axes
from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import no_loop_reasons, register_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import TENSORS, Sizes
from gdn_ops.codegen.tiling.tiles import count, head_width_reasons, tile

BK = Axis("BK", (32, 64, 128), 32, "key channels per tile")
BV = Axis("BV", (32, 64, 128), 32, "value channels per tile")
GROUP_ROWS = 64
"""Rows of the smallest product of a warp group on sm_90; products of fewer run in one warp each."""


def _tiles(problem: Problem, config: Config) -> dict[str, int]:
    return {
        "BK": tile(int(config["BK"]), problem.K),
        "BV": tile(int(config["BV"]), problem.V),
    }


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    gated = problem.rule.gate == "scalar" and not config["gate_free"]
    DQ = TENSORS[_outputs(problem, config)[0]].element(problem, config)
    levels = int(config["BT"]).bit_length() - 1
    return {**_tiles(problem, config), "GATED": gated, "DQ": DQ, "LEVELS": levels}


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate != "none" else ()
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    if not problem.rule.delta:
        return ("q", "k", "v", *gate, "h", "do", "dh", *packed)
    saved = ("beta", "A", "h", "v_new")
    return ("q", "k", "v", *gate, *saved, "do", "dh", "dv_new", *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    keys = ("dq_heads", "dk_heads") if problem.group > 1 else ("dq", "dk")
    gate = ("dgc",) if problem.rule.gate != "none" else ()
    values = ("dv", "dbeta") if problem.rule.delta else ()
    return (*keys, *values, *gate)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (sizes.B * problem.HV, sizes.NT)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = head_width_reasons(BK, BV, problem, config)
    rows, tiles = int(config["BT"]), _tiles(problem, config)
    if not target.accumulates_in_tensor_memory(int(config["num_warps"])):
        what = f"two gradients of {rows} x {rows} and one of {rows} x {tiles['BV']}"
        values = rows * (2 * rows + tiles["BV"])
        reasons += register_reasons(what, values, config, target)
        what = f"three gradients of {rows} x {tiles['BK']} and one of {rows} x {tiles['BV']}"
        values = rows * (3 * tiles["BK"] + tiles["BV"])
        reasons += register_reasons(what, values, config, target)
    return reasons + _pipeline_refusals(problem, config, target)


def _pipeline_refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    """What num_stages cannot be; 1 can always be, for it is the default.

    The innermost loop is pipelined: over tiles of V, or of K where one tile takes V.
    """
    stages, tiles = int(config["num_stages"]), _tiles(problem, config)
    loop_k, loop_v = count(problem.K, tiles["BK"]) > 1, count(problem.V, tiles["BV"]) > 1
    reasons: list[str] = []
    if not loop_k and not loop_v:
        why = f"one tile holds K={problem.K} and one holds V={problem.V}"
        reasons += no_loop_reasons(config, 1, why)
    # a tile goes from memory into a product as it is; others are converted in registers first
    direct = config["dot"] == "native" or (config["dot"] == "tf32" and config["store"] == "fp32")
    group = int(config["BT"]) >= GROUP_ROWS and target.capability == 90
    if stages > 1 and loop_v and group and direct and problem.rule.gate != "none":
        # seen with Triton 3.6 to 3.9; codegen/compiled/races.py finds it in the compiled code
        reasons.append(
            f"num_stages={stages} races on {target.arch}: with a gate h, dh, v_new and do are also "
            "summed in registers, and Triton's pipeliner then copies the next tile over one that "
            "an asynchronous product still reads; use num_stages=1"
        )
    if target.accumulates_in_tensor_memory(int(config["num_warps"])):
        # Triton 3.6 and 3.7 fail with "parent layout must have at least rank >= 2"; 3.8 compiles
        # it. A head of 32 channels has no narrower tile than the default.
        if not loop_k and tiles["BK"] > int(BK.default):
            reasons.append(
                f"BK={config['BK']} takes K={problem.K} in one tile, which does not compile for "
                f"{target.arch}; use a smaller BK"
            )
        if stages > 1 and not loop_v:
            reasons.append(
                f"num_stages={stages} does not compile for {target.arch} where BV={config['BV']} "
                f"takes V={problem.V} in one tile; use num_stages=1 or a smaller BV"
            )
    return reasons


SPEC = KernelSpec(
    name="bwd_dqkvg",
    template="triton/bwd_dqkvg",
    doc={
        "delta": "the gradients of q, k, v, beta and gc.",
        "linear": "the gradients of q, k and gc.",
    },
    equation={
        "delta": """
    dX = A^T dv_new,  dv = beta dX
    P = scale tril(do v_new^T . G),  L = -strict_tril(dX v_new^T . G),  G_ij = exp(gc_i - gc_j)
    dq = scale exp(gc) (do h^T) + P k
    Z = L k - exp(gc) (A^T (dv_new h^T)),  D = exp(gl - gc) (v_new dh^T),  gl = gc of the last token
    W = P^T q + L^T (beta k) + D,  dk = beta Z + W
    dbeta = rowsum(dX v) + rowsum(k Z)
    dgc = rowsum(q dq) + rowsum(k (beta Z - W)), at the last token + sum(k D) + exp(gl) sum(h dh)
    with gate_free, A comes without the decay and is first multiplied by G, elementwise
    """,
        "linear": """
    P = scale tril(do v^T . G),  G_ij = exp(gc_i - gc_j)
    dq = scale exp(gc) (do h^T) + P k
    D = exp(gl - gc) (v dh^T),  gl = gc of the last token,  dk = P^T q + D
    dgc = rowsum(q dq) - rowsum(k dk), at the last token + sum(k D) + exp(gl) sum(h dh)
    """,
        "vector-delta": """
    dX = A^T dv_new,  dv = beta dX,  P = scale tril(do v_new^T),  L = -strict_tril(dX v_new^T)
    dq_i = scale exp(gc_i) (h do_i) + sum of P_ij G_ij k_j,  G_ij = exp(gc_i - gc_j) a channel
    Z_i = sum of L_ij G_ij k_j - exp(gc_i) (h dX_i),  D_j = exp(gl - gc_j) (dh v_new_j)
    W_j = sum of G_ij (P_ij q_i + L_ij beta_i k_i) + D_j,  dk = beta Z + W
    dbeta = rowsum(dX v) + rowsum(k Z)
    dgc = q dq + k (beta Z - W), at the last token + sum(k D) + exp(gl) rowsum(h dh)
    """,
        "vector-linear": """
    P = scale tril(do v^T),  D_j = exp(gl - gc_j) (dh v_j)
    dq_i = scale exp(gc_i) (h do_i) + sum of P_ij G_ij k_j,  G_ij = exp(gc_i - gc_j) a channel
    dk_j = sum of G_ij P_ij q_i + D_j
    dgc = q dq - k dk, at the last token + sum(k D) + exp(gl) rowsum(h dh)
    """,
    },
    shared=("BT", "store", "gate_free"),
    axes=(
        BK,
        BV,
        DOT,
        LOADS,
        *launch_axes(warps=(4, 8), stages=(1, 2, 3)),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    context=_context,
    refusals=_refusals,
)
