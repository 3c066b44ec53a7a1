"""Stage segment_bwd_carry: the gradient of the state after each segment, last segment first."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import segment_carry
from gdn_ops.codegen.problem import Problem


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("whole",) if problem.rule.gate == "scalar" else ()
    final = ("dht",) if problem.final_state else ()
    packed = ("segment_offsets",) if problem.varlen else ()
    return ("M", "dh_local", *gate, *final, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("dh_end",)


SPEC = replace(
    segment_carry.SPEC,
    name="segment_bwd_carry",
    template="triton/segment_bwd_carry",
    doc="the gradient of the state after each segment, one before another.",
    equation="""
    dh_end of a sequence's last segment = dht, or 0;  of the one before it, the last's dh_local
    dh_end of the one before = M^T dh_end + dh_local, in fp32; M is 0 where it was not made whole
    """,
    inputs=_inputs,
    outputs=_outputs,
)
