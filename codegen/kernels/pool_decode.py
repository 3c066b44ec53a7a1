"""Stage pool_decode: a few tokens a sequence, on states in slots of a pool; serving's decode."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.decode_tiles import decode_tiles
from gdn_ops.codegen.tiling.launch_axes import launch_axes
from gdn_ops.codegen.tiling.tiles import count, narrowed, register_reasons, tile, twin_reasons

BV = Axis("BV", (4, 8, 16, 32, 64, 128), 16, "value channels of one program")
SPAN = Axis("SPAN", (16, 32, 64, 128, 256), 32, "channels of a V-first state's row, read at once")
LINE = 128
"""Bytes that a warp's load of a V-first state has side by side: a line of the cache."""


def _block(problem: Problem, config: Config) -> tuple[int, int]:
    """BK, which holds the whole of K, and BV."""
    return tile(2 * problem.K, problem.K, least=1), tile(int(config["BV"]), problem.V, least=1)


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    BK, BV = _block(problem, config)
    span = tile(int(config["SPAN"]), problem.K, least=1)
    tiles = {"BK": BK, "BV": BV, "NV": count(problem.V, BV), "SPAN": span, "NK": BK // span}
    return {**tiles, **pool_context(problem, config)}


def pool_context(problem: Problem, config: Config) -> Mapping[str, object]:
    """The facts of op ``pool`` as its templates read them."""
    return {
        "STATE": DTYPES[problem.state_dtype],
        "V_FIRST": problem.state_v_first,
        "VERIFY": problem.verify,
        "IN_PLACE": problem.final_state,
        "L2": problem.qk_l2norm,
        "SIGMOID": problem.beta_sigmoid,
    }


def pool_inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    """The tensors that a stage of op ``pool`` reads, but for the offsets of packed sequences."""
    raw = ("A_log", "dt_bias") if problem.dt_bias else ("A_log",)
    gate = ("g", *(raw if problem.gate_in_kernel else ())) if problem.rule.gate == "scalar" else ()
    accepted = ("accepted",) if problem.verify else ()
    return ("q", "k", "v", *gate, "beta", "pool", "slots", *accepted)


def pool_outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    """What such a stage returns; a pool is written in place."""
    return ("o",) if problem.final_state else ("o", "states")


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    packed = ("cu_seqlens",) if problem.varlen else ()
    return (*pool_inputs(problem, config), *packed)


def _problem_scalars(problem: Problem, config: Config) -> tuple[str, ...]:
    columns = ("S",) if problem.verify else ()
    gate = ("stride_g",) if problem.rule.gate == "scalar" else ()
    tokens = ("stride_q", "stride_k", "stride_v", *gate, "stride_beta")
    return (*columns, *tokens, "stride_pool", "stride_slots")


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Rows of a V-first state read by lines, and tiles by the batch."""
    span = LINE // DTYPES[problem.state_dtype].bytes
    rows = {"SPAN": narrowed(SPAN, span, problem.K, least=1)} if problem.state_v_first else {}
    return {**rows, **decode_tiles(BV, problem)}


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    if not sizes.T:
        return (0,)  # a program reads its first token before it knows of any
    # one dimension, for the others hold 65535 programs and N * HV can be more
    return (count(problem.V, _block(problem, config)[1]) * sizes.N * problem.HV,)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    BK, BV_ = _block(problem, config)
    reasons = twin_reasons(BV, config, problem.V, least=1)
    if problem.state_v_first:
        reasons += twin_reasons(SPAN, config, problem.K, least=1)
    elif config["SPAN"] != SPAN.default:
        reasons.append(
            f"SPAN={config['SPAN']} is the same as SPAN={SPAN.default} in a K-first pool"
        )
    return reasons + register_reasons(f"a state of {BK} x {BV_}", BK * BV_, config, target)


SPEC = KernelSpec(
    name="pool_decode",
    template="triton/pool_decode",
    doc="tokens on states in slots of a pool, in place, with every activation.",
    equation="""
    S <- exp(g) S
    S <- S + k (beta (v - S^T k))^T
    o = scale S^T q
    """,
    axes=(
        BV,
        SPAN,
        Axis("evict", ("usual", "first"), "usual", "which lines leave the caches first: a state's"),
        Axis("reads", (1, 2), 2, "sums over the state: both before its update, or one after"),
        Axis("prefetch", (0, 1), 1, "tokens loaded while the one before is at work"),
        *launch_axes(warps=(1, 2, 4, 8), stages=(1,), default_warps=1),
    ),
    inputs=_inputs,
    outputs=pool_outputs,
    scalars=("T", "scale"),
    problem_scalars=_problem_scalars,
    grid=_grid,
    context=_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
