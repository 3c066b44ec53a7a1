"""Stage scan_sm90: what scan computes, for Hopper, with the state in accumulators of products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes

BV = 64
"""Value channels of four warps that walk: the rows of a product of a warp group."""
HEAD_DIMS = (64, 128)


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    initial = ("h0",) if problem.initial_state else ()
    packed = ("cu_seqlens",) if problem.varlen else ()
    return ("q", "k", "v", "beta", "A", *gate, *initial, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("o", "ht") if problem.final_state else ("o",)


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    return {"NV": problem.V // int(config["BV"])}


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (problem.V // int(config["BV"]) * sizes.N * problem.HV,)


def _blocks(problem: Problem, config: Config) -> Mapping[str, tuple[int, int]]:
    BT, BV, K = int(config["BT"]), int(config["BV"]), problem.K
    return {"q": (BT, K), "k": (BT, K), "v": (BT, BV), "A": (BT, BT), "o": (BT, BV)}


WALK_AXES = (
    Axis("slots", (2, 3), 3, "chunks in shared memory at a time"),
    Axis("num_warps", (4,), 4, "warps that keep the state", launch=True),
    Axis("enable_fp_fusion", (True, False), True, "contract a * b + c to one FMA", launch=True),
)
"""The axes of the walks for Hopper, forward and backward; with more warps for 128 channels, and for
Blackwell."""
SCAN_AXES = (
    Axis("BV", (64, 128), 64, "value channels per program, 16 per warp that walks"),
    *(replace(axis, values=(4, 8)) if axis.name == "num_warps" else axis for axis in WALK_AXES),
)


def slices(problem: Problem, config: Config) -> Mapping[str, object]:
    """What the templates of walks know of the slices of value channels: channels and number."""
    return {"BV": BV, "NV": problem.V // BV}


def tile_reasons(stage: str, problem: Problem) -> list[str]:
    """Why a Gluon stage of a walk cannot run a problem on any target; empty if it can."""
    reasons = []
    if problem.dtype == "fp32":
        reasons.append(f"{stage} multiplies 16-bit tiles; q, k, v are fp32")
    if problem.K != problem.V or problem.K not in HEAD_DIMS:
        reasons.append(
            f"{stage} needs K = V = 64 or 128; K={problem.K}, V={problem.V} run on plan fused"
        )
    return reasons


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return channel_reasons(SPEC.name, problem, config)


def channel_reasons(stage: str, problem: Problem, config: Config) -> list[str]:
    """``tile_reasons``, and why a program cannot have this many value channels or warps."""
    reasons, width, warps = tile_reasons(stage, problem), int(config["BV"]), config["num_warps"]
    if not reasons and width > problem.V:
        reasons.append(f"BV={width} is more than the {problem.V} value channels of a head")
    if warps != width // 16:
        reasons.append(f"{stage} walks BV={width} channels with {width // 16} warps, not {warps}")
    return reasons


SPEC = KernelSpec(
    name="scan_sm90",
    template="gluon/scan_sm90",
    doc="the outputs of a sequence, chunk by chunk, and its final state.",
    equation="""
    n = (beta (v^T - exp(gc) (S k^T))) A^T,  S of [V, K]
    o^T = scale (exp(gc) (S q^T) + n (tril(q k^T) . G)^T),  G_ij = exp(gc_i - gc_j)
    S <- exp(gl) S + (exp(gl - gc) n) k,  gl = gc of the chunk's last token
    with gate_free, A comes without the decay and is first multiplied by G, elementwise
    """,
    shared=("BT", "store", "gate_free"),
    axes=SCAN_AXES,
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    context=_context,
    refusals=_refusals,
    archs=("sm_90",),
    blocks=_blocks,
)
