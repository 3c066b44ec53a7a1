"""The choice of a variant for a problem, with the reasons against the others."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cache

import torch

from gdn_ops.codegen.interpreting import interpreting
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winners import Winner, WinnerTable, load_winners
from gdn_ops.errors import GdnError, UnsupportedProblem
from gdn_ops.sources import origin

FALLBACK = "torch"

TYPICAL_TOKENS, TYPICAL_SEQUENCES = 8192, 32
"""A batch-invariant choice is made for these: tokens of a prefill, sequences of a decode step."""


@dataclass(frozen=True)
class Refusal:
    """A candidate that cannot run the problem or was not chosen, and every reason."""

    candidate: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """The variant that a problem runs on, and how it was found.

    Args:
        problem: the problem.
        target: the hardware it runs on.
        variant: the variant it runs on.
        how: ``exact``, ``nearest``, ``same arch`` or ``predicted`` for a stored winner (see
            ``gdn_ops.dispatch.winners``), ``forced`` by ``gdn_ops.using``, or ``fallback`` if no
            stored winner fits.
        winner: the stored winner; None if the choice is forced or a fallback.
        refused: candidates that rank higher but cannot run the problem.
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
    """Choose the best-fitting stored winner that can run a problem.

    The order is: same bucket and target, nearest bucket on the target, another target of the same
    architecture, predicted winner, and last the ``torch`` plan, which runs on every device.

    Args:
        problem: the problem to run.
        target: the hardware to run it on.
        table: the winners to choose from; None: those of all databases.
        invariant: choose regardless of the sizes of the call and of whether it is packed; see
            ``gdn_ops.batch_invariant``.

    Raises:
        UnsupportedProblem: no plan can run the problem; the message lists every reason.
    """
    table = stored_winners() if table is None else table
    # Defaults may depend on sizes: all problems of a bucket share a launcher, so also a variant.
    bucket = (_typical(problem) if invariant else problem).bucket()
    refused: list[Refusal] = []
    for winner, how in table.candidates(bucket.id(), bucket.facts(), target.name, target.arch):
        name = f"{how} winner {winner.variant_id} of {winner.problem_id} on {winner.target}"
        try:
            variant = Variant.from_json(winner.variant, bucket)
        except GdnError as error:
            refused.append(Refusal(name, (str(error),)))
            continue
        reasons = _reasons(variant, problem, target)
        if not reasons:
            return Choice(problem, target, variant, how, winner, tuple(refused))
        refused.append(Refusal(name, tuple(reasons)))
    return _fallback(problem, bucket, target, refused)


def _typical(problem: Problem) -> Problem:
    """Return the problem with fixed sizes, so that every batch gets the same choice.

    A packed decode step stays packed, as its sequences may be empty and its stages are others.
    """
    decoding = problem.op in ("decode", "pool")
    sequences = TYPICAL_SEQUENCES if decoding else 1
    tokens = sequences if decoding else TYPICAL_TOKENS
    packed = problem.varlen and problem.op == "decode"
    return replace(problem, tokens=tokens, sequences=sequences, varlen=packed)


def _fallback(problem: Problem, bucket: Problem, target: Target, refused: list[Refusal]) -> Choice:
    """Return the fallback's default variant for the bucket."""
    for name in PLANS:
        variant = Variant.default(name, bucket)
        reasons = _reasons(variant, problem, target)
        if name == FALLBACK and not reasons:
            return Choice(problem, target, variant, "fallback", None, tuple(refused))
        reasons = reasons or [
            f"no stored winner uses it; run `gdn tune` on {target.name}, or `gdn predict` on any "
            "machine"
        ]
        refused.append(Refusal(f"plan {name}", tuple(reasons)))
    listing = "\n".join(f"  {r.candidate}: {'; '.join(r.reasons)}" for r in refused)
    heading = f"no plan can run {problem.id()} on {target.name}:"
    raise UnsupportedProblem("\n".join(filter(None, [heading, listing, origin().serves()])))


def _reasons(variant: Variant, problem: Problem, target: Target) -> list[str]:
    """Why a variant cannot run a problem on a target, or its source is missing here."""
    return variant.reasons(problem, target) or origin().missing(problem, variant)


def choose_forced(
    problem: Problem, target: Target, forced: str | Variant, *, invariant: bool = False
) -> Choice:
    """Return the choice that ``gdn_ops.using`` asks for.

    Args:
        problem: the problem to run.
        target: the hardware to run it on.
        forced: a plan's name, for its default variant, or a variant.
        invariant: as for ``choose``; the defaults of a plan may depend on the sizes.

    Raises:
        UnsupportedProblem: the variant cannot run the problem; the message lists every reason.
    """
    bucket = (_typical(problem) if invariant else problem).bucket()
    variant = Variant.default(forced, bucket) if isinstance(forced, str) else forced
    reasons = _reasons(variant, problem, target)
    if reasons:
        raise UnsupportedProblem(
            f"using({forced if isinstance(forced, str) else variant.id!r}) cannot run "
            f"{problem.id()} on {target.name}: {'; '.join(reasons)}"
        )
    return Choice(problem, target, variant, "forced", None, ())


@cache
def stored_winners() -> WinnerTable:
    """Return the winners of all databases; read once per process, and again after ``refresh``."""
    table = load_winners()
    for fault in table.faults:
        warnings.warn(f"{fault} This database is ignored.", RuntimeWarning, stacklevel=2)
    return table


def interpreter_target() -> Target | None:
    """Return the target of Triton's interpreter (an sm_90 on the CPU); None if it is not on."""
    try:
        if not interpreting():
            return None
    except ImportError:
        return None
    return replace(target_named("h100"), name="interpreter", device="interpreter")


def warn_of_fallback(choice: Choice, device: torch.device) -> None:
    """Warn that a GPU runs the slow ``torch`` plan because nothing was tuned for the problem."""
    if choice.how == "fallback" and choice.target.gpu:
        warnings.warn(
            f"no tuned kernel for {choice.problem.bucket().id()} on {choice.target.name}: the call "
            f"runs on plan {FALLBACK} on {device}; run `gdn tune` once, or see "
            "gdn_ops.explain(...).",
            RuntimeWarning,
            stacklevel=4,
        )
