"""Stage recurrent: the rule token by token, with the state in registers; also decodes one token."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import READS, launch_axes
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons, same_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.decode_tiles import decode_tiles
from gdn_ops.codegen.tiling.tiles import count, tile, width_reasons

BV = Axis("BV", (8, 16, 32, 64, 128), 16, "value channels per program")
VEC = Axis("VEC", (1, 2, 4), 4, "adjacent value channels that a thread loads of the state")
PREFETCH = Axis(
    "prefetch", (0, 1, 2, 3), 1, "tokens loaded ahead: 1 in registers, more in shared memory"
)


def _block(problem: Problem, config: Config) -> tuple[int, int]:
    """BK, which holds all of K, and BV."""
    return tile(2 * problem.K, problem.K, least=1), tile(int(config["BV"]), problem.V, least=1)


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    rows, columns = _block(problem, config)
    return {
        "BK": rows,
        "BV": columns,
        "NV": count(problem.V, columns),
        "DECODE": problem.op == "decode",
    }


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    raw = ("A_log", "dt_bias") if problem.dt_bias else ("A_log",)
    gate = ("g", *(raw if problem.gate_in_kernel else ())) if problem.rule.gate != "none" else ()
    initial = ("h0",) if problem.initial_state else ()
    packed = ("cu_seqlens",) if problem.varlen and problem.op != "decode" else ()
    beta = ("beta",) if problem.rule.delta else ()
    return ("q", "k", "v", *gate, *beta, *initial, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("o", "ht") if problem.final_state else ("o",)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    return decode_tiles(BV, problem) if problem.op == "decode" else {}


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    # in the first dimension: the others take 65535 programs and N * HV can be more
    return (count(problem.V, _block(problem, config)[1]) * sizes.N * problem.HV,)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = width_reasons(BV, config, problem.V, least=1)
    rows, columns = _block(problem, config)
    reasons += register_reasons(f"a state of {rows} x {columns}", rows * columns, config, target)
    if not problem.initial_state:
        reasons += same_reasons("VEC", config, VEC.default, "without an initial state to load")
    if problem.op == "decode":
        why = "in decode, which has no next token"
        reasons += same_reasons("prefetch", config, PREFETCH.default, why)
    return reasons


SPEC = KernelSpec(
    name="recurrent",
    template="triton/recurrent",
    doc="the rule token by token, with the state in registers.",
    equation={
        "delta": """
    S <- exp(g) S
    S <- S + k (beta (v - S^T k))^T
    o = scale S^T q
    """,
        "linear": """
    S <- exp(g) S + k v^T
    o = scale S^T q
    """,
    },
    axes=(
        BV,
        VEC,
        PREFETCH,
        READS,
        *launch_axes(warps=(1, 2, 4, 8), stages=(1,), default_warps=1),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    context=_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
