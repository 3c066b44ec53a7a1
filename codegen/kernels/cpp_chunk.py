"""Stage cpp_chunk: the chunkwise delta rule in C++, compiled on the CPU that runs it."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.kernels.torch_chunk import DOT, dot_context, rule_inputs, rule_outputs
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target

LANES = 16
"""Numbers in the longest vector register; K and V must be multiples."""
BT = Axis("BT", (16, 32, 64), 32, "tokens per chunk")
HEADS = Axis("HEADS", (1, 2, 4), 1, "value heads of a query head that a thread computes together")
TILE = Axis(
    "tile",
    ("4x2", "4x4", "8x2"),
    "4x2",
    "rows and vectors of a product that AVX-512 registers hold",
)


def cpp_context(problem: Problem, config: Config) -> Mapping[str, object]:
    """The template variables of a stage in C++."""
    rows, vectors = map(int, str(config["tile"]).split("x"))
    return {**dot_context(problem, config), "ROWS": rows, "VECTORS": vectors}


def cpp_refusals(stage: str, problem: Problem, config: Config, target: Target) -> list[str]:
    """Why a stage in C++ refuses a config."""
    reasons = [
        f"stage {stage} needs head dims that are multiples of {LANES}, and {name}={size}; "
        "use plan torch"
        for name, size in (("K", problem.K), ("V", problem.V))
        if size % LANES
    ]
    if config["dot"] == "native" and not (problem.dtype == "bf16" and target.multiplies_bf16):
        reasons.append(
            f"dot=native of stage {stage} multiplies bf16 with AVX512-BF16, not {problem.dtype} "
            f"on {target.name}; use dot=ieee"
        )
    return reasons


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = cpp_refusals("cpp_chunk", problem, config, target)
    if problem.group % int(config["HEADS"]):
        reasons.append(
            f"HEADS={config['HEADS']} does not divide the {problem.group} value heads of a query "
            "head"
        )
    return reasons


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Fp32 products need more rows per load; value heads share the products of q and k."""
    heads = next(n for n in (2, 1) if problem.group % n == 0)
    return {"HEADS": heads, **({} if problem.dtype == "bf16" else {"tile": "8x2"})}


SPEC = KernelSpec(
    name="cpp_chunk",
    template="torch/cpp_chunk",
    doc="the chunkwise delta rule in C++, each head in one core's cache.",
    equation="""
    in a chunk whose tokens i decay the state S before it by d_i, and what token j wrote by d_ij:
    L_ij = beta_i d_ij (k_i . k_j) for i > j, else 0
    P_ij = scale d_ij (q_i . k_j) for i >= j, else 0
    U = (I + L)^-1 diag(beta) (V - diag(d_i) K S)
    O = scale diag(d_i) Q S + P U
    S <- d_last S + (diag(d_last,i) K)^T U
    """,
    axes=(BT, HEADS, TILE, DOT),
    inputs=rule_inputs,
    outputs=rule_outputs,
    scalars=("scale",),
    context=cpp_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
    cpp=True,
)
