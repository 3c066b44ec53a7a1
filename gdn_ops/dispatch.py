"""Dispatch: which variant a problem runs on, and why not on another."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cache

import torch

from gdn_ops.codegen.interpreter import interpreting
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import template_hash
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.errors import GdnError, UnsupportedProblem
from gdn_ops.winners import Winner, WinnerTable, load_winners

FALLBACK = "torch"


@dataclass(frozen=True)
class Refusal:
    """A candidate that was passed over, and every reason why."""

    candidate: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The variant a problem runs on.

    Args:
        how: ``exact``, ``nearest``, ``same arch``, ``predicted`` (a stored winner, see
            ``gdn_ops.winners``), ``forced`` (``using``) or ``fallback`` (nothing stored fits).
        winner: the database row, when there is one.
        refused: better-placed candidates that cannot run the problem.
    """

    problem: Problem
    target: Target
    variant: Variant
    how: str
    winner: Winner | None
    refused: tuple[Refusal, ...]


def choose(problem: Problem, target: Target, table: WinnerTable | None = None) -> Choice:
    """Choose the variant for a problem: the best-fitting stored winner that can run it.

    The order is: exact bucket, nearest bucket, another target of the same arch, predicted, and
    then the ``torch`` plan, which runs anywhere.

    Raises:
        UnsupportedProblem: no plan can run it; the message lists every reason.
    """
    table = stored_winners() if table is None else table
    bucket = problem.bucket()
    refused: list[Refusal] = []
    for winner, how in table.candidates(bucket.id(), bucket.facts(), target.name, target.arch):
        name = f"{how} winner {winner.variant_id} of {winner.problem_id} on {winner.target}"
        try:
            variant = Variant.from_json(winner.variant, problem)
        except GdnError as error:
            refused.append(Refusal(name, (str(error),)))
            continue
        reasons = variant.reasons(problem, target)
        if not reasons:
            return Choice(problem, target, variant, how, winner, tuple(refused))
        refused.append(Refusal(name, tuple(reasons)))
    return _fallback(problem, target, refused)


def _fallback(problem: Problem, target: Target, refused: list[Refusal]) -> Choice:
    for name in PLANS:
        variant = Variant.default(name, problem)
        reasons = variant.reasons(problem, target)
        if name == FALLBACK and not reasons:
            return Choice(problem, target, variant, "fallback", None, tuple(refused))
        reasons = reasons or [f"no measured row says so; run `gdn tune` on {target.name}"]
        refused.append(Refusal(f"plan {name}", tuple(reasons)))
    listing = "\n".join(f"  {r.candidate}: {'; '.join(r.reasons)}" for r in refused)
    raise UnsupportedProblem(f"no plan can run {problem.id()} on {target.name}:\n{listing}")


def choose_forced(problem: Problem, target: Target, forced: str | Variant) -> Choice:
    """The plan's default variant, or the very variant, if it can run the problem.

    Raises:
        UnsupportedProblem: it cannot; the message lists why.
    """
    variant = Variant.default(forced, problem) if isinstance(forced, str) else forced
    reasons = variant.reasons(problem, target)
    if reasons:
        raise UnsupportedProblem(
            f"using({forced if isinstance(forced, str) else variant.id!r}) cannot run "
            f"{problem.id()} on {target.name}: {'; '.join(reasons)}"
        )
    return Choice(problem, target, variant, "forced", None, ())


@contextmanager
def using(forced: str | Variant) -> Iterator[None]:
    """Run every call inside on one plan (its default variant) or one variant.

    Raises:
        UnknownName: no plan has that name.
    """
    if isinstance(forced, str):
        plan_named(forced)
    token = FORCED.set(forced)
    try:
        yield
    finally:
        FORCED.reset(token)


FORCED: ContextVar[str | Variant | None] = ContextVar("gdn_ops_forced", default=None)


@cache
def stored_winners() -> WinnerTable:
    """Every winner of every database, read once a process; ``refresh`` reads anew."""
    table = load_winners(template_hash=template_hash())
    for fault in table.faults:
        warnings.warn(f"{fault} Going on without it.", RuntimeWarning, stacklevel=2)
    return table


def interpreter_target() -> Target | None:
    """What stands for the CPU when Triton interprets: an sm_90 that runs in the interpreter."""
    try:
        if not interpreting():
            return None
    except ImportError:
        return None
    return replace(target_named("h100"), name="interpreter", device="interpreter")


def warn_of_fallback(choice: Choice, device: torch.device) -> None:
    """Say once a problem that a GPU runs the slow plan because nobody tuned for it."""
    if choice.how == "fallback" and choice.target.gpu and not choice.problem.grad:
        warnings.warn(
            f"no tuned kernel for {choice.problem.bucket().id()} on {choice.target.name}: running "
            f"plan {FALLBACK} on {device}; run `gdn tune` once, or see gdn_ops.explain(...).",
            RuntimeWarning,
            stacklevel=4,
        )
