"""The errors of gdn-ops; every message names the value, the limit and the remedy.

GdnError
├── InvalidInput         a tensor or argument of a call is outside the contract
├── UnsupportedProblem   no plan can run the problem; the message lists every reason
├── InvalidConfig        an axis value is unknown, or a config cannot run on its target
├── UnknownName          a target, workload, plan, stage or axis nobody registered
├── TemplateError        a template failed to render
├── CompileError         a rendered kernel failed to compile
├── UnreadableCode       a kernel compiled, and what it needs cannot be read from its binary
├── LaunchError          a compiled kernel failed to start
├── KernelFault          the interpreter of Gluon found what a GPU would silently get wrong
└── ResultsError         the results database is missing, corrupt, newer or not writable
    └── ResultsBusy      it may be used later: locked, its disk full, its server away
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_SHOWN = 80
"""Characters of a value in a message; what a user gave may be a megabyte."""


def shown(value: object) -> str:
    """A value as a message shows it: its repr, cut if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python prints no integers of thousands of digits, and nothing that is nested that deep
        return f"of type {type(value).__name__}, too large to show"
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


class GdnError(Exception):
    """Base of every error that gdn-ops raises on purpose."""


class InvalidInput(GdnError, ValueError):
    """A tensor or argument of a call is outside the contract."""


class UnsupportedProblem(GdnError, NotImplementedError):
    """No plan can run the problem."""


class InvalidConfig(GdnError, ValueError):
    """An axis value is unknown, or a config cannot run on its target."""


class UnknownName(GdnError, ValueError):
    """A name is not in its registry."""

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[str]) -> UnknownName:
        """Say which name of which kind is unknown, the nearest known ones, and all of them."""
        known = sorted(set(known))
        near = get_close_matches(str(name)[:LONGEST_SHOWN], known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return cls(f"unknown {kind} {shown(name)}{hint} Known: {', '.join(known)}.")


class TemplateError(GdnError):
    """A template failed to render."""


class CompileError(GdnError):
    """A rendered kernel failed to compile."""


class UnreadableCode(GdnError):
    """A kernel compiled, and what it needs of its target cannot be read from its binary."""


class LaunchError(GdnError, RuntimeError):
    """A compiled kernel failed to start."""


class KernelFault(GdnError):
    """A kernel does what a GPU would silently get wrong, such as a race; found by interpreting."""


class ResultsError(GdnError):
    """The results database is missing, corrupt, newer than this version, or not writable."""


class ResultsBusy(ResultsError):
    """The results database may be used later: it is locked, its disk full or its server away."""
