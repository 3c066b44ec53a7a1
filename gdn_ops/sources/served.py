"""What an exported library serves, and how a call differs from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod
from typing import Any

from gdn_ops.codegen.problem import POOL_FACTS, Problem
from gdn_ops.codegen.target import Target

LISTED = 6
"""Kinds of problems that a message lists, at most."""
_FACTS = ("op", "rule", "H", "HV", "K", "V", "dtype")
_POOL_FACTS = (*POOL_FACTS, "gate_in_kernel", "dt_bias")

Kind = Mapping[str, Any]
"""What a library is bound to of a problem, by name: not its sizes, nor flags that it serves both
ways."""


def kind_of(problem: Problem) -> dict[str, Any]:
    """The kind of a problem, as the index of a library has it."""
    kind = {name: getattr(problem, name) for name in _FACTS} | {"rule": problem.rule.name}
    if problem.op == "pool":
        kind |= {name: getattr(problem, name) for name in _POOL_FACTS}
    return kind


@dataclass(frozen=True)
class Served:
    """What a library serves.

    Args:
        target: the name of its target.
        arch: the architecture of the target.
        gpu: whether it is a GPU.
        kinds: the kinds of its winners' problems.
    """

    target: str
    arch: str
    gpu: bool
    kinds: Sequence[Kind]

    def __str__(self) -> str:
        kinds = [
            f"{text} {'/'.join(kind['dtype'] for kind in equal)}"
            for text, equal in groupby(sorted(self.kinds, key=_order), _without_dtype)
        ]
        more = len(kinds) - LISTED
        shown = kinds if more <= 0 else [*kinds[:LISTED], f"and {more} more (see library.json)"]
        return f"This library serves on {self.target} ({self.arch}): {'; '.join(shown)}."

    def differences(self, problem: Problem, target: Target) -> str:
        """What a call asks for that the library does not have; empty if it has all of it.

        Args:
            problem: the problem of the call.
            target: the hardware that the call runs on.
        """
        call, library = [], []
        if target.arch != self.arch and (target.gpu or self.gpu):
            here = f"{target.name} ({target.arch})" if target.gpu else "a CPU"
            call.append(f"is on {here}")
            library.append(f"is for {self.target} ({self.arch})")
        asked = kind_of(problem)
        near = min((_different(asked, kind) for kind in self.kinds), key=_far, default=())
        if near:
            like = [kind for kind in self.kinds if _different(asked, kind) == near]
            gradients = " (gradients)" if near == ("op",) and problem.op == "backward" else ""
            call.append(f"has {_named([asked], near)}{gradients}")
            library.append(f"has {_named(like, near)}")
        if not call:
            return ""
        return f"the call {' and '.join(call)}; this library {' and '.join(library)}."


def _different(asked: Kind, kind: Kind) -> tuple[str, ...]:
    """The names of the facts in which two kinds differ; those of another op have no others."""
    if asked["op"] != kind["op"]:
        return ("op",)
    return tuple(name for name in asked if asked[name] != kind.get(name))


def _far(names: Sequence[str]) -> tuple[bool, bool, int]:
    return "op" in names, "rule" in names, len(names)


def _named(kinds: Sequence[Kind], names: Sequence[str]) -> str:
    """The values that some kinds have of some facts, e.g. ``H=16, HV=32 or 64``."""
    found = list(dict.fromkeys(tuple(str(kind.get(name)) for name in names) for kind in kinds))
    values = [dict.fromkeys(column) for column in zip(*found, strict=True)]
    if prod(map(len, values)) == len(found):
        found = [tuple(map(" or ".join, values))]
    more = [] if len(found) <= LISTED else ["others"]
    texts = [
        ", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True))
        for row in found[:LISTED]
    ]
    return " or ".join([*texts, *more])


def _without_dtype(kind: Kind) -> str:
    """A kind as text; of a pool also the facts that are not the usual ones."""
    heads = " ".join(f"{name}={kind[name]}" for name in ("H", "HV", "K", "V"))
    flags = [
        name if kind[name] is True else f"{name}={kind[name]}"
        for name in _POOL_FACTS
        if kind.get(name, POOL_FACTS.get(name, False)) != POOL_FACTS.get(name, False)
    ]
    return " ".join([kind["op"], kind["rule"], heads, *flags])


def _order(kind: Kind) -> tuple[str, str]:
    return _without_dtype(kind), kind["dtype"]
