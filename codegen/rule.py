"""Which recurrence: the lattice gate x delta."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdn_ops.codegen.errors import UnknownName

GATES = ("none", "scalar", "vector")


@dataclass(frozen=True)
class Rule:
    """One recurrence of the lattice ``gate`` in {none, scalar, vector} x ``delta`` in {on, off}.

    The state S is [K, V] per value head; per token, with log decay g:

        S <- exp(g) S                      (gate: none, one g per head, or one per key channel)
        S <- S + k (beta (v - S^T k))^T    (delta on)     S <- S + k v^T    (delta off)
        o  = scale S^T q

    (scalar, on) is the gated delta rule, arXiv 2412.06464 eq. 10; (none, on) DeltaNet;
    (vector, on) KDA; (scalar, off) Mamba-2 and simple GLA; (vector, off) GLA; (none, off) linear
    attention.
    """

    gate: str = "scalar"
    delta: bool = True

    def __post_init__(self) -> None:
        if self.gate not in GATES:
            raise UnknownName.of("gate", self.gate, GATES)

    @property
    def name(self) -> str:
        return f"{self.gate}-{'delta' if self.delta else 'linear'}"


RuleText = str | Mapping[str, str]
"""A text, or one for each rule: see ``text_of``."""


def text_of(texts: RuleText, rule: Rule) -> str:
    """The text for a rule.

    The keys of a mapping are, the first that is there: the rule's name (``vector-linear``), its
    gate (``vector``), ``delta`` or ``linear``, ``other``.
    """
    if isinstance(texts, str):
        return texts
    keys = (rule.name, rule.gate, "delta" if rule.delta else "linear", "other")
    return next(texts[key] for key in keys if key in texts)
