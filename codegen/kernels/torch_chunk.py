"""Stage torch_chunk: the chunkwise rule in plain PyTorch (placeholder until the tuned template)."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = () if problem.rule.gate == "none" else ("g",)
    raw = ("A_log",) * problem.gate_in_kernel + ("dt_bias",) * problem.dt_bias
    return ("q", "k", "v", *gate, *raw, "beta", *("h0",) * problem.initial_state, *("offsets",) * problem.varlen)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("o", "ht") if problem.final_state else ("o",)


SPEC = KernelSpec(
    name="torch_chunk", doc="the chunkwise rule in plain PyTorch.", equation="    see docs/maths.md",
    language="torch", axes=(Axis("BT", (16, 32, 64, 128), 64, "tokens in a chunk"),),
    inputs=_inputs, outputs=_outputs, scalars=("scale",),
)
