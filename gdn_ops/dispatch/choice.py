"""Dispatch: which variant a problem runs on, and why not on another."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache

import torch

from gdn_ops.codegen.interpreter import interpreting
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winners import Winner, WinnerTable, load_winners
from gdn_ops.errors import GdnError, UnsupportedProblem

FALLBACK = "torch"

TYPICAL_TOKENS, TYPICAL_SEQUENCES = 8192, 32
"""Sizes of a prefill and of a decode step for which a batch-invariant choice is made."""


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
            ``gdn_ops.dispatch.winners``), ``forced`` (``using``) or ``fallback`` (nothing stored
            fits).
        winner: the database row, when there is one.
        refused: better-placed candidates that cannot run the problem.
    """

    problem: Problem
    target: Target
    variant: Variant
    how: str
    winner: Winner | None
    refused: tuple[Refusal, ...]


def choose(
    problem: Problem, target: Target, table: WinnerTable | None = None, *, invariant: bool = False
) -> Choice:
    """Choose the variant for a problem: the best-fitting stored winner that can run it.

    The order is: exact bucket, nearest bucket, another target of the same arch, predicted, and
    then the ``torch`` plan, which runs anywhere.

    Args:
        invariant: the sizes of the call, and whether it is packed, do not matter; see
            ``gdn_ops.batch_invariant``.

    Raises:
        UnsupportedProblem: no plan can run it; the message lists every reason.
    """
    table = stored_winners() if table is None else table
    bucket = (_typical(problem) if invariant else problem).bucket()
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


def _typical(problem: Problem) -> Problem:
    """The problem with one size for all batches, so that none of them is chosen for apart."""
    few = problem.op in ("decode", "pool")
    sequences = TYPICAL_SEQUENCES if few else 1
    tokens = sequences if few else TYPICAL_TOKENS
    return replace(problem, tokens=tokens, sequences=sequences, varlen=False)


def _fallback(problem: Problem, target: Target, refused: list[Refusal]) -> Choice:
    for name in PLANS:
        variant = Variant.default(name, problem)
        reasons = variant.reasons(problem, target)
        if name == FALLBACK and not reasons:
            return Choice(problem, target, variant, "fallback", None, tuple(refused))
        reasons = reasons or [
            f"no stored winner names it; run `gdn tune` on {target.name}, or `gdn predict` anywhere"
        ]
        refused.append(Refusal(f"plan {name}", tuple(reasons)))
    listing = "\n".join(f"  {r.candidate}: {'; '.join(r.reasons)}" for r in refused)
    raise UnsupportedProblem(f"no plan can run {problem.id()} on {target.name}:\n{listing}")


def choose_forced(
    problem: Problem, target: Target, forced: str | Variant, *, invariant: bool = False
) -> Choice:
    """The plan's default variant, or the very variant, if it can run the problem.

    Args:
        invariant: as of ``choose``, for defaults may follow the sizes.

    Raises:
        UnsupportedProblem: it cannot; the message lists why.
    """
    usual = _typical(problem) if invariant else problem
    variant = Variant.default(forced, usual) if isinstance(forced, str) else forced
    reasons = variant.reasons(problem, target)
    if reasons:
        raise UnsupportedProblem(
            f"using({forced if isinstance(forced, str) else variant.id!r}) cannot run "
            f"{problem.id()} on {target.name}: {'; '.join(reasons)}"
        )
    return Choice(problem, target, variant, "forced", None, ())


@cache
def stored_winners() -> WinnerTable:
    """Every winner of every database, read once a process; ``refresh`` reads anew."""
    table = load_winners()
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
    if choice.how == "fallback" and choice.target.gpu:
        warnings.warn(
            f"no tuned kernel for {choice.problem.bucket().id()} on {choice.target.name}: running "
            f"plan {FALLBACK} on {device}; run `gdn tune` once, or see gdn_ops.explain(...).",
            RuntimeWarning,
            stacklevel=4,
        )
