"""Stage torch_chunk: the chunkwise rule in plain PyTorch, with a gate per value head or none."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import BT
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import same_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target

AHEAD = Axis("AHEAD", (1, 4, 16, 64), 4, "chunks whose A and P are computed together")
SOLVE = Axis("solve", ("rows", "blocks"), "blocks", "A by row substitution, or by blocks of 16")
DOT = Axis(
    "dot",
    ("ieee", "native"),
    "ieee",
    "operands of products except those of A: fp32, or q's dtype",
    precision=True,
)


def rule_inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    """The inputs of a stage that computes the whole rule; offsets are cu_seqlens on the host."""
    gate = ("g",) if problem.rule.gate != "none" else ()
    raw = ("A_log",) * problem.gate_in_kernel + ("dt_bias",) * problem.dt_bias
    state = ("h0",) if problem.initial_state else ()
    packed = ("offsets",) if problem.varlen else ()
    beta = ("beta",) if problem.rule.delta else ()
    return ("q", "k", "v", *gate, *raw, *beta, *state, *packed)


def rule_outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    """The outputs of a stage that computes the whole rule."""
    return ("o", "ht") if problem.final_state else ("o",)


def dot_context(problem: Problem, config: Config) -> Mapping[str, object]:
    """The dtype of the products' operands, by axis dot."""
    dot = "fp32" if config["dot"] == "ieee" else problem.dtype
    return {"DOT": DTYPES[dot].torch}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = []
    if config["dot"] == "native" and problem.rule.gate == "vector":
        reasons.append("dot=native supports gates none and scalar; use dot=ieee for a vector gate")
    if config["dot"] == "native" and problem.dtype == "fp16" and not target.gpu:
        reasons.append(
            "dot=native multiplies fp16, which in PyTorch on a CPU is about 40 times slower than "
            "fp32; use dot=ieee"
        )
    if not problem.rule.delta:
        reasons += same_reasons("solve", config, SOLVE.default, "without the delta, which needs A")
    elif config["BT"] == 16:
        reasons += same_reasons("solve", config, SOLVE.default, "for chunks of 16 tokens")
    return reasons


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Products in fp32 take twice as long as in bf16, which costs larger chunks more."""
    scalar_delta = problem.rule.delta and problem.rule.gate != "vector"
    return {"BT": 32} if scalar_delta and problem.dtype == "fp32" else {}


SPEC = KernelSpec(
    name="torch_chunk",
    template="torch/torch_chunk",
    doc="the chunkwise rule in plain PyTorch.",
    equation={
        "delta": """
    in a chunk whose tokens i decay the state S before it by d_i, and what token j wrote by d_ij:
    A = (I + L)^-1 diag(beta),  L_ij = beta_i d_ij (k_i . k_j) for i > j, else 0
    P_ij = scale d_ij (q_i . k_j) for i >= j, else 0
    U = A (V - diag(d_i) K S)
    O = scale diag(d_i) Q S + P U
    S <- d_last S + (diag(d_last,i) K)^T U
    """,
        "linear": """
    in a chunk whose tokens i decay the state S before it by d_i, and what token j wrote by d_ij:
    P_ij = scale d_ij (q_i . k_j) for i >= j, else 0
    O = scale diag(d_i) Q S + P V
    S <- d_last S + (diag(d_last,i) K)^T V
    """,
    },
    axes=(
        BT,
        AHEAD,
        SOLVE,
        DOT,
    ),
    inputs=rule_inputs,
    outputs=rule_outputs,
    scalars=("scale",),
    context=dot_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
