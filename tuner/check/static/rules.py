"""Rules: the figures of compiled code, their units, and which changes make a check fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INSTRUCTIONS = 0.02
"""How many more instructions a kernel may have by default, as a fraction."""

KIND = "instructions "
"""Start of the name of a count of one kind of instruction, e.g. ``instructions HGMMA``."""


@dataclass(frozen=True)
class Rule:
    """How one figure is judged.

    Args:
        figure: its name in baselines and reports.
        unit: of its value; empty where the name says it.
        worse: ``more`` or ``less`` if a change in that direction fails the check and one in the
            other is an improvement; empty if no change of it alone is either.
        within: name of the setting that says by which fraction it may get worse; empty for none.
    """

    figure: str
    unit: str
    worse: str = ""
    within: str = ""


RULES = {
    rule.figure: rule
    for rule in (
        # of a kernel, from what can never be accepted to what only explains the others
        Rule("races", "tiles overwritten while they may still be read", worse="more"),
        Rule("unlaunchable", "limits of the GPU that a launch exceeds", worse="more"),
        Rule("stack", "bytes per thread", worse="more"),
        Rule("local accesses", "loads and stores of spilled registers", worse="more"),
        Rule("resident warps", "warps per SM", worse="less"),
        Rule("instructions", "", worse="more", within="instructions"),
        Rule("code", "bytes of machine code"),
        Rule("registers", "registers per thread"),
        Rule("shared", "bytes of shared memory per block"),
        Rule("tensor memory", "columns per block"),
        Rule("warps", "warps per block"),
        # of a variant
        Rule("launches", "Triton kernels and PyTorch stages", worse="more"),
        Rule("bytes", "bytes of memory traffic per token and value head", worse="more"),
    )
}
"""Every figure. ``registers`` and ``shared`` matter by ``resident warps``, ``code`` by
``instructions``. Counts of single kinds of instructions (``KIND``) never fail."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a user may set.

    Args:
        instructions: by which fraction instructions may grow, e.g. 0.02; >= 0.
    """

    instructions: float = INSTRUCTIONS


def rule_of(figure: str) -> Rule | None:
    """The rule of a figure; None if no figure has this name."""
    if figure.startswith(KIND) and figure != KIND:
        return Rule(figure, "")
    return RULES.get(figure)


def verdict(rule: Rule, base: float, head: float, limits: Limits) -> str:
    """``worse``, ``better``, or empty if the change counts as neither."""
    if not rule.worse:
        return ""
    allowed = getattr(limits, rule.within) if rule.within else 0.0
    grown = head - base if rule.worse == "more" else base - head
    if abs(grown) <= allowed * base:
        return ""
    return "worse" if grown > 0 else "better"


def differing(base: Mapping[str, float], head: Mapping[str, float]) -> list[str]:
    """The figures that differ, in the order of the rules; a figure that is not listed is 0."""
    names = [name for name in {**base, **head} if base.get(name, 0) != head.get(name, 0)]
    order = list(RULES)
    return sorted(names, key=lambda n: (order.index(n) if n in order else len(order), n))
