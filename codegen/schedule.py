"""Schedule: which stages of a variant have to run if some tensors already exist."""

from __future__ import annotations

from collections.abc import Collection

from gdn_ops.codegen.errors import InvalidConfig
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant

RESULTS = (
    "o", "ht", "states", "dq", "dk", "dv", "dg", "dbeta", "dA_log", "ddt_bias", "dh0",
)  # fmt: skip
"""Tensors that stages compute for a caller, not for one another."""


def running(
    variant: Variant,
    problem: Problem,
    given: Collection[str] = (),
    wanted: Collection[str] = RESULTS,
) -> tuple[str, ...]:
    """The names of the stages that have to run, in order.

    Args:
        given: tensors of stages that exist before any stage runs.
        wanted: tensors that are asked for; a stage that none of them depends on is left out.

    Raises:
        InvalidConfig: the variant is a provider's, which has no stages.
    """
    if variant.provider:
        raise InvalidConfig(f"{variant} is a provider, which has no stages; choose a plan.")
    needed, names = set(wanted), []
    for name, _ in reversed(variant.stages):
        spec, config = KERNELS[name], variant.config(name)
        if needed.intersection(spec.outputs(problem, config)).difference(given):
            names.append(name)
            needed.update(spec.inputs(problem, config))
    return tuple(reversed(names))
