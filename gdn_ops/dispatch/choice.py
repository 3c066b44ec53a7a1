"""The choice of a variant for a problem, with the reasons against the others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Protocol

from gdn_ops.codegen.interpreting import interpreting
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import INTERPRETER, Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.compiler import missing_compiler
from gdn_ops.dispatch.providers import missing_provider
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.dispatch.winners import load_winners
from gdn_ops.errors import GdnError, UnsupportedProblem
from gdn_ops.sources import origin

if TYPE_CHECKING:
    import torch

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
        how: ``exact``, ``nearest``, ``same arch``, ``kindred arch`` or ``predicted`` for a stored
            winner (see ``gdn_ops.dispatch.winner_table``), ``forced`` by ``gdn_ops.using``; if no
            stored winner fits, ``default`` for the default of a plan, or ``fallback`` for that of
            plan ``torch``.
        winner: the stored winner; None for the others.
        refused: candidates that rank higher but cannot run the problem.
        here: whether it was made for a GPU of this machine, on which it is verified.
    """

    problem: Problem
    target: Target
    variant: Variant
    how: str
    winner: Winner | None
    refused: tuple[Refusal, ...]
    here: bool = False


class Faults(Protocol):
    """Tells why a variant must not run a problem although it could, e.g. because it was wrong."""

    def __call__(self, problem: Problem, variant: Variant) -> list[str]: ...


def no_faults(problem: Problem, variant: Variant) -> list[str]:
    return []


def choose(
    problem: Problem,
    target: Target,
    table: WinnerTable | None = None,
    *,
    invariant: bool = False,
    faults: Faults = no_faults,
) -> Choice:
    """Choose the best-fitting stored winner that can run a problem, else a default.

    The order is: same bucket and target, nearest bucket on the target, another target of the same
    architecture, one of a kindred architecture, predicted winner, the default variant of the first
    plan that runs the problem on the target, and last that of the ``torch`` plan, which runs on
    every device.

    Args:
        problem: the problem to run.
        target: the hardware to run it on.
        table: the winners to choose from; None: those of all databases.
        invariant: choose regardless of the sizes of the call and of whether it is packed; see
            ``gdn_ops.batch_invariant``.
        faults: why a variant is passed over; see ``gdn_ops.dispatch.first_use``.

    Raises:
        UnsupportedProblem: no plan can run the problem; the message lists every reason.
    """
    table = stored_winners(target) if table is None else table
    # Defaults may depend on sizes: all problems of a bucket share a launcher, so also a variant.
    bucket = (_typical(problem) if invariant else problem).bucket()
    refused: list[Refusal] = []
    for winner, how in table.candidates(bucket.id(), bucket.facts(), target):
        where = f"of {winner.problem_id} on {winner.target}"
        try:
            variant = Variant.from_json(winner.variant, bucket)
        except GdnError as error:
            refused.append(Refusal(f"{how} winner {winner.variant_id} {where}", (str(error),)))
            continue
        name = f"{how} winner {variant.named} {where}"
        reasons = _varying(variant) if invariant else []
        reasons = reasons or _reasons(variant, problem, target)
        if winner.provenance == "predicted":
            reasons = reasons or unverified(variant.plan, target)
        reasons = reasons or missing_compiler(variant) or faults(problem, variant)
        if not reasons:
            return Choice(problem, target, variant, how, winner, tuple(refused))
        refused.append(Refusal(name, tuple(reasons)))
    return _default(problem, bucket, target, refused, faults)


def _typical(problem: Problem) -> Problem:
    """Return the problem with fixed sizes, so that every batch gets the same choice.

    A packed decode step stays packed, as its sequences may be empty and its stages are others.
    """
    decoding = problem.op in ("decode", "pool")
    sequences = TYPICAL_SEQUENCES if decoding else 1
    tokens = sequences if decoding else TYPICAL_TOKENS
    packed = problem.varlen and problem.op == "decode"
    return replace(problem, tokens=tokens, sequences=sequences, varlen=packed)


def _default(
    problem: Problem, bucket: Problem, target: Target, refused: list[Refusal], faults: Faults
) -> Choice:
    """Return the default variant of the first plan that can run the bucket."""
    for name in PLANS:
        reasons: list[str] = []
        for variant in default_variants(name, bucket, target):
            reasons = _reasons(variant, problem, target) or unverified(name, target)
            reasons = reasons or PLANS[name].unasked(bucket, target) or missing_compiler(variant)
            reasons = reasons or faults(problem, variant)
            if not reasons:
                how = "fallback" if name == FALLBACK else "default"
                return Choice(problem, target, variant, how, None, tuple(refused))
        refused.append(Refusal(f"plan {name}", tuple(reasons)))
    sources = origin()
    if different := sources.differences(problem, target):
        raise UnsupportedProblem(f"{different}\n{sources.serves()}")
    listing = "\n".join(f"  {r.candidate}: {'; '.join(r.reasons)}" for r in refused)
    heading = f"no plan can run {problem.id()} on {target.name}:"
    raise UnsupportedProblem("\n".join(filter(None, [heading, listing, sources.serves()])))


def unverified(plan: str, target: Target) -> list[str]:
    """Why a plan is no default although it can run; empty if it is one."""
    if PLANS[plan].verified:
        return []
    return [
        "its kernels have not run on a GPU yet; `gdn tune` checks and times it on "
        f"{target.name}, and gdn_ops.using({plan!r}) runs it"
    ]


@lru_cache(maxsize=1024)
def default_variants(plan: str, problem: Problem, target: Target) -> tuple[Variant, ...]:
    """Return a plan's default variant on a target, and what replaces it if that cannot run.

    A CPU that multiplies bf16 natively gets such products for bf16 problems, as every winner that
    was measured on such a CPU has them.
    """
    usual = Variant.default(plan, problem)
    if not target.multiplies_bf16 or problem.dtype != "bf16":
        return (usual,)
    native = {
        name: {axis.name: "native" for axis in KERNELS[name].precisions if "native" in axis.values}
        for name, _ in usual.stages
    }
    variant = Variant.of(plan, problem, dict(usual.interface), native)
    return (usual,) if variant.reasons(problem, target) else (variant, usual)


def _reasons(variant: Variant, problem: Problem, target: Target) -> list[str]:
    """Why a variant cannot run a problem on a target, or is missing here."""
    missing = missing_provider if variant.provider else origin().missing
    return variant.reasons(problem, target) or missing(problem, variant)


def _varying(variant: Variant) -> list[str]:
    """Why a variant does not serve a batch-invariant choice; empty if it does."""
    if not variant.provider:
        return []
    return [f"the results of provider {variant.provider} may depend on the batch"]


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
    asked = default_variants(forced, bucket, target) if isinstance(forced, str) else (forced,)
    for variant in asked:
        reasons = _reasons(variant, problem, target) or missing_compiler(variant)
        if not reasons:
            break
    if reasons:
        raise UnsupportedProblem(
            f"using({forced if isinstance(forced, str) else variant.named!r}) cannot run "
            f"{problem.id()} on {target.name}: "
            f"{origin().differences(problem, target) or '; '.join(reasons)}"
        )
    return Choice(problem, target, variant, "forced", None, ())


_GIVEN: list[WinnerTable] = []


@contextmanager
def choosing_from(table: WinnerTable) -> Iterator[None]:
    """Context manager: choose from these winners instead of those of the databases."""
    _GIVEN.append(table)
    try:
        yield
    finally:
        _GIVEN.pop()


def stored_winners(target: Target) -> WinnerTable:
    """Return the winners of all databases, without predictions for other devices than a target.

    They are read once per process, and again after ``forget_winners``.
    """
    return _GIVEN[-1] if _GIVEN else _stored_winners(target)


@cache
def _stored_winners(target: Target) -> WinnerTable:
    table = load_winners(target=target)
    for fault in table.faults:
        warnings.warn(f"{fault} This database is ignored.", RuntimeWarning, stacklevel=3)
    return table


@cache
def winners_state() -> object:
    """Return an object that is another one after the winners were read again."""
    return object()


def forget_winners() -> None:
    """Read the databases again at the next choice."""
    _stored_winners.cache_clear()
    winners_state.cache_clear()


def interpreter_target() -> Target | None:
    """Return the target of Triton's interpreter (an sm_90 on the CPU); None if it is not on."""
    try:
        if not interpreting():
            return None
    except ImportError:
        return None
    return replace(target_named("h100"), name=INTERPRETER, device=INTERPRETER)


def warn_of_fallback(choice: Choice, device: torch.device) -> None:
    """Warn that a GPU runs the slow ``torch`` plan because no kernel can run the problem there."""
    if choice.how == "fallback" and choice.target.gpu:
        warnings.warn(
            f"no kernel for {choice.problem.bucket().id()} on {choice.target.name}: the call "
            f"runs on plan {FALLBACK} on {device}; gdn_ops.explain(...) says why.",
            RuntimeWarning,
            stacklevel=4,
        )
