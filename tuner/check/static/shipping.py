"""What ships: the variants that a GPU of an architecture may run without being tuned further."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gdn_ops.codegen.errors import GdnError, UnknownName
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winners import load_winners
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.spaces.problems import KDA, decode, pool, prefill, training

GPUS = {"sm_80": "a100", "sm_90": "h200", "sm_100": "b200", "gfx942": "mi300x"}
"""The GPU that represents each architecture that is checked."""

PROBLEMS: dict[str, Problem] = {
    "prefill": prefill(tokens=8192),
    "training": training(tokens=8192),
    "decode": decode(sequences=32),
    "pool": pool(sequences=32),
    "kda-prefill": prefill(tokens=8192, **KDA),
    "kda-training": training(tokens=8192, **KDA),
}
"""The problems whose default variants are checked. Together they run every template that is
compiled, but those that only plans use that are not verified."""


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A variant that ships.

    Args:
        name: ``prefill/split`` for the default variant of a plan, or
            ``winners/h200/<problem id>`` for a shipped winner.
        target: the GPU that represents the architecture.
    """

    name: str
    problem: Problem
    variant: Variant
    target: Target


@dataclass(frozen=True)
class Shipping:
    """What ships for an architecture.

    Args:
        variants: those with kernels.
        refused: why a default variant cannot run there, by its name.
        notes: a sentence for each winner that is left out because it cannot be read.
    """

    variants: list[Shipped] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def gpu_of(arch: str) -> Target:
    """The GPU that represents an architecture.

    Raises:
        UnknownName: there is no baseline of the architecture.
    """
    if arch not in GPUS:
        raise UnknownName.of("architecture", arch, GPUS)
    return target_named(GPUS[arch])


def shipping(
    arch: str,
    *,
    problems: dict[str, Problem] | None = None,
    databases: Iterable[Path] | None = None,
) -> Shipping:
    """What ships for an architecture.

    Args:
        problems: by name; default: ``PROBLEMS``.
        databases: results databases whose winners ship; default: the one of the package.
    """
    target, found = gpu_of(arch), Shipping()
    for name, problem in (PROBLEMS if problems is None else problems).items():
        for plan in PLANS:
            variant = Variant.default(plan, problem)
            if not (PLANS[plan].verified and _has_kernels(variant)):
                continue
            if reasons := variant.reasons(problem, target):
                found.refused[f"{name}/{plan}"] = "; ".join(reasons)
            else:
                shipped = Shipped(
                    name=f"{name}/{plan}", problem=problem, variant=variant, target=target
                )
                found.variants.append(shipped)
    table = load_winners([shipped_database()] if databases is None else databases)
    found.notes.extend(str(fault) for fault in table.faults)
    for winner in table.winners:
        if winner.arch != arch or winner.target not in TARGETS:
            continue
        if winner.provenance == "predicted":
            continue  # `make predictions` compiles them; they are too many for every check
        try:
            shipped = _shipped_winner(winner, target)
        except (GdnError, KeyError, TypeError) as error:
            found.notes.append(
                f"the winner of {winner.problem_id} on {winner.target} is left out: {error}"
            )
            continue
        if _has_kernels(shipped.variant):
            found.variants.append(shipped)
    return found


def _shipped_winner(winner: Winner, target: Target) -> Shipped:
    problem = Problem.from_facts(winner.facts)
    return Shipped(
        name=f"winners/{winner.target}/{winner.problem_id}",
        problem=problem,
        variant=Variant.from_json(winner.variant, problem),
        target=target,
    )


def _has_kernels(variant: Variant) -> bool:
    return not variant.provider and any(KERNELS[stage].compiled for stage, _ in variant.stages)
