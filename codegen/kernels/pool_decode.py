"""Stage pool_decode: decode for serving, a few tokens per sequence on states in a pool."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import READS, launch_axes
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons, same_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.decode_tiles import decode_tiles
from gdn_ops.codegen.tiling.tiles import count, narrowed, tile, width_reasons

BV = Axis("BV", (4, 8, 16, 32, 64, 128), 16, "value channels per program")
SPAN = Axis("SPAN", (16, 32, 64, 128, 256), 32, "channels read at once of a V-first state's row")
LINE = 128
"""Adjacent bytes that a warp loads of a V-first state: a cache line."""


def _block(problem: Problem, config: Config) -> tuple[int, int]:
    """BK, which holds all of K, and BV."""
    return tile(2 * problem.K, problem.K, least=1), tile(int(config["BV"]), problem.V, least=1)


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    BK, BV = _block(problem, config)
    span = tile(int(config["SPAN"]), problem.K, least=1)
    tiles = {"BK": BK, "BV": BV, "NV": count(problem.V, BV), "SPAN": span, "NK": BK // span}
    return {**tiles, **pool_context(problem, config)}


def pool_context(problem: Problem, config: Config) -> Mapping[str, object]:
    """The facts of op ``pool`` that its templates read."""
    return {
        "STATE": DTYPES[problem.state_dtype],
        "V_FIRST": problem.state_v_first,
        "VERIFY": problem.verify,
        "IN_PLACE": problem.final_state,
        "L2": problem.qk_l2norm,
        "SIGMOID": problem.beta_sigmoid,
    }


def pool_inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    """The tensors that a stage of op ``pool`` reads, except the offsets of packed sequences."""
    raw = ("A_log", "dt_bias") if problem.dt_bias else ("A_log",)
    gate = ("g", *(raw if problem.gate_in_kernel else ())) if problem.rule.gate == "scalar" else ()
    accepted = ("accepted",) if problem.verify else ()
    return ("q", "k", "v", *gate, "beta", "pool", "slots", *accepted)


def pool_outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    """What a stage of op ``pool`` returns; the pool itself is written in place."""
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
    """Read rows of a V-first state by cache lines, and choose tiles by the number of states."""
    span = LINE // DTYPES[problem.state_dtype].bytes
    rows = {"SPAN": narrowed(SPAN, span, problem.K, least=1)} if problem.state_v_first else {}
    return {**rows, **decode_tiles(BV, problem)}


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    if not sizes.T:
        return (0,)  # a program reads its first token before it checks that there is one
    # in the first dimension: the others take 65535 programs and N * HV can be more
    return (count(problem.V, _block(problem, config)[1]) * sizes.N * problem.HV,)


def _loop_bounds(problem: Problem, config: Config, sizes: Sizes) -> Mapping[str, int]:
    # the last sequence ends with the row, so that no tokens after it are to be cleared
    return {"T": sizes.length, "eos": sizes.length}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    BK, BV_ = _block(problem, config)
    reasons = width_reasons(BV, config, problem.V, least=1)
    if problem.state_v_first:
        reasons += width_reasons(SPAN, config, problem.K, least=1)
    else:
        reasons += same_reasons("SPAN", config, SPAN.default, "for a K-first pool")
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
        Axis("evict", ("usual", "first"), "usual", "whether states leave the caches first"),
        READS,
        Axis("prefetch", (0, 1), 1, "tokens loaded ahead, while the one before is computed"),
        *launch_axes(warps=(1, 2, 4, 8), stages=(1,), default_warps=1),
    ),
    inputs=_inputs,
    outputs=pool_outputs,
    scalars=("T", "scale"),
    problem_scalars=_problem_scalars,
    grid=_grid,
    loop_bounds=_loop_bounds,
    context=_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
