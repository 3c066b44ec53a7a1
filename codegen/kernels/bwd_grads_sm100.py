"""Stage bwd_grads_sm100: what bwd_grads_sm90 computes, for Blackwell, in tensor memory."""

from __future__ import annotations

from dataclasses import replace

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import bwd_grads_sm90, scan_sm90, scan_sm100
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return scan_sm90.tile_reasons(SPEC.name, problem)


SPEC = replace(
    bwd_grads_sm90.SPEC,
    name="bwd_grads_sm100",
    template="gluon/bwd_grads_sm100",
    refusals=_refusals,
    archs=scan_sm100.SPEC.archs,
)
