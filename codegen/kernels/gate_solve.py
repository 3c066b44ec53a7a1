"""Stage gate_solve: stages gate_cumsum and solve in one kernel, with the inverse by doubling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gdn_ops.codegen.axes import merge_dot
from gdn_ops.codegen.axis import Config, Value
from gdn_ops.codegen.kernels import gate_cumsum, solve
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

MERGE_DOT = merge_dot(
    ("by_beta", "ieee", "fp16", "tf32", "tf32x3"),
    "by_beta",
    "products inside the inverse; by_beta: one pass in chunks with beta from 0 to 1 and keys of "
    "unit length or less, tf32x3 in the others",
)
DEFAULTS: Mapping[str, Value] = {"solve": "doubling", "num_warps": 1}


def mild_dot(config: Config) -> str:
    """What ``merge_dot=by_beta`` takes for a chunk with beta from 0 to 1 and short keys."""
    return "fp16" if config["solve"] == "doubling" else "tf32"


def _gated(problem: Problem) -> bool:
    return problem.rule.gate == "scalar"


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    # with cu_seqlens and chunk_indices, where sequences are packed
    gate = gate_cumsum.SPEC.inputs(problem, config)
    if not _gated(problem):
        gate = gate[1:]
    return ("k", "beta", *gate)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("gc", "A") if _gated(problem) else ("A",)


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    return {
        **solve.SPEC.context(problem, config),
        "AHEAD": _gated(problem) and config["heads"] == "one",
        "SUMS": _gated(problem),
        "ROUND_TF32": True,
        "MILD": mild_dot(config),
    }


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    exact = {"merge_dot": "ieee"} if problem.dtype == "fp32" else {}
    # where one tile holds K, no loop could copy ahead
    ahead = {"num_stages": 3} if int(solve.BK.default) < problem.K else {}
    return {**solve.SPEC.problem_defaults(problem), **exact, **ahead}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = solve.SPEC.refusals(problem, config, target)
    if config["merge_dot"] in ("by_beta", "fp16") and problem.dtype == "fp32":
        given = f"merge_dot={config['merge_dot']}"
        reasons.append(f"{given} keeps 11 bits of fp32 q, k, v; use tf32x3 or ieee")
    if config["merge_dot"] == "fp16" and config["solve"] != "doubling":
        reasons.append(
            f"merge_dot=fp16 is for solve=doubling; for solve={config['solve']} use tf32 or tf32x3"
        )
    if config["merge_dot"] == "by_beta" and target.vendor == "amd":
        reasons.append(f"merge_dot=by_beta needs NVIDIA tensor cores; {target.name} is AMD")
    return reasons


SPEC = replace(
    solve.SPEC,
    name="gate_solve",
    doc="the log decay summed within chunks, and the inverse of each chunk's matrix.",
    equation="""
    gc_t = sum of g_s over the tokens s <= t of the chunk
    g_s = -exp(A_log) softplus(a_s + dt_bias) where the gate comes raw
    A = (I + L)^-1,  L_ij = beta_i (k_i . k_j) for i > j, else 0
    L_ij is multiplied by exp(gc_i - gc_j) where A is not gate-free
    """,
    axes=tuple(
        MERGE_DOT
        if axis.name == "merge_dot"
        else replace(axis, default=DEFAULTS.get(axis.name, axis.default))
        for axis in solve.SPEC.axes
    ),
    inputs=_inputs,
    outputs=_outputs,
    context=_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
