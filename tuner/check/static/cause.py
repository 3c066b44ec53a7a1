"""Cause: whether the template, the configuration or the compiler changed a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gdn_ops.codegen.compiled.compile import Source
from gdn_ops.codegen.errors import TemplateError
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.tuner.check.static.baseline import KernelRecord
from gdn_ops.tuner.check.static.kernel import Kernel, config_of, kernel_of

TEMPLATE, CONFIGURATION, COMPILER = "template", "configuration", "compiler"
CAUSES = (TEMPLATE, CONFIGURATION, COMPILER)
"""``template`` is everything that shapes the rendered source besides its configuration: the
template, its macros, and the stage's spec."""
UNKNOWN = "unknown"


def joined(causes: Iterable[str]) -> str:
    """Several causes in words, e.g. ``template and compiler``."""
    found = set(causes)
    return " and ".join(cause for cause in CAUSES if cause in found) or UNKNOWN


def changed(base: KernelRecord, head: Kernel) -> set[str]:
    """What changed in a kernel since its baseline, besides the compiler."""
    found = set()
    if (base.config, base.options) != (head.config, head.options):
        found.add(CONFIGURATION)
        # the source of another configuration differs; what counts is that of the old one today
        again = rendered_again(base, head)
        if again is None:
            found.add(TEMPLATE)
    elif not same_source(base, head):
        found.add(TEMPLATE)
    return found


def same_source(base: KernelRecord, head: Kernel) -> bool:
    """Whether a kernel has the code and the arguments of its baseline."""
    return (base.hash, base.arguments) == (head.hash, head.arguments)


def rendered_again(base: KernelRecord, head: Kernel) -> Source | None:
    """The source of a baseline's kernel, rendered by today's template.

    Returns:
        None if today's template renders another source, or cannot render this configuration.
    """
    config = config_of(f"{base.config} {base.options}", head.stage, head.plan)
    if config is None:
        return None
    try:
        again = kernel_of(
            KERNELS[head.stage], head.plan, head.problem, config, head.target, use=head.name
        )
    except TemplateError:
        return None
    return again.source if same_source(base, again) else None


def cause(
    figure: str,
    causes: set[str],
    base: Mapping[str, float],
    head: Mapping[str, float],
    old: Mapping[str, float] | None,
) -> str:
    """What changed one figure.

    Args:
        causes: what changed in all.
        base, head: the figures of the baseline, and today's.
        old: the figures of the old source compiled by today's compiler; None if unknown.
    """
    if old is None or COMPILER not in causes or len(causes) == 1:
        return joined(causes)
    values = [figures.get(figure, 0) for figures in (base, head, old)]
    if values[2] == values[0]:
        return joined(causes - {COMPILER})
    if values[2] == values[1]:
        return COMPILER
    return joined(causes)
