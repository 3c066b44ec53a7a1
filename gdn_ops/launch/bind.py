"""Binding: from a variant and a problem to the launcher that runs it."""

from __future__ import annotations

from gdn_ops.codegen.interpreting import interprets
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Provided, Variant
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.pool_launcher import PoolLauncher


def bind(problem: Problem, variant: Variant, *, interpret: bool | None = None) -> Launcher:
    """Render and import a variant for a problem.

    Args:
        problem: gives the heads, head dims, dtype and flags; its sizes do not matter.
        variant: the variant to run. The caller has checked with ``Variant.reasons`` that it can.
        interpret: whether to render for Triton's interpreter; None: if Triton is set to interpret.

    Raises:
        TemplateError: a template failed to render.
        LaunchError: the cache of rendered modules cannot be written, or the variant is a provider
            that cannot be imported.
    """
    if isinstance(variant, Provided):
        from gdn_ops.launch.provider_launcher import ProviderLauncher

        return ProviderLauncher(problem, variant)
    if interpret is None:
        interpret = interprets(variant)
    if interpret:
        from gdn_ops.codegen.interpreter.patches import patch_interpreter

        patch_interpreter()
    if problem.op == "pool":
        return PoolLauncher(problem, variant, interpret=interpret)
    return Launcher(problem, variant, interpret=interpret)
