"""Whether a stored winner can be used today: its rows agree, and its variant renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from math import isclose
from typing import Any

from gdn_ops.codegen.errors import GdnError, InvalidInput
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.store.models import TrialRow
from gdn_ops.tuner.store.records import StoredWinner, Trial

CLOCK_TOLERANCE = timedelta(days=1)
"""How far ahead of ours the clock of another machine may be."""


@dataclass(frozen=True)
class Usable:
    """A winner that can be used: its variant as text, and whether its kernels are as measured."""

    text: str
    fresh: bool


def usable(
    winner: StoredWinner, facts: Mapping[str, Any], trial: TrialRow | None, now: datetime
) -> Usable:
    """Check a winner against its problem, its trial and the kernels of today.

    Args:
        facts: of its problem.
        trial: the trial that measured it; None if it was predicted.

    Raises:
        ValueError: it cannot be used; the message says why.
    """
    if winner.created > now + CLOCK_TOLERANCE:
        raise InvalidInput(
            f"its date {winner.created:%Y-%m-%d} is in the future; set the clock of the machine "
            "that tuned it, and tune again"
        )
    problem = _problem(winner.problem_id, facts)
    try:
        variant = Variant.from_json(winner.variant, problem)
        today = source_hashes(problem, variant)
    except (GdnError, KeyError, TypeError, OverflowError) as error:
        raise InvalidInput(f"its variant can no longer be rendered: {error}") from error
    _require_target(winner, variant, problem)
    if winner.provenance == "predicted":
        return Usable(str(variant), fresh=True)
    if trial is None:
        raise InvalidInput("it is measured, and has no trial")
    _require_trial(winner, Trial.of(trial))
    return Usable(str(variant), fresh=trial.sources == today)


def _problem(problem_id: str, facts: Mapping[str, Any]) -> Problem:
    kinds = {"str": str, "int": int, "bool": bool}
    types = {field.name: kinds.get(str(field.type), object) for field in fields(Problem)}
    for name, value in facts.items():
        if name in types and type(value) is not types[name] and types[name] is not object:
            raise InvalidInput(f"the fact {name} of its problem is {value!r:.40}")
    try:
        problem = Problem.from_facts(facts)
    except (GdnError, KeyError, TypeError) as error:
        raise InvalidInput(f"its problem cannot be read: {error}") from error
    if problem.id() != problem_id:
        raise InvalidInput(f"the facts of its problem are those of {problem.id()}")
    return problem


def _require_target(winner: StoredWinner, variant: Variant, problem: Problem) -> None:
    """Refuse a variant that cannot run on its target; a target without a row is not checked."""
    target = TARGETS.get(winner.target)
    if target is None:
        return
    if target.gpu and target.arch != winner.arch:
        raise InvalidInput(f"its architecture is {winner.arch}; {target.name} is {target.arch}")
    if reasons := variant.reasons(problem, target):
        raise InvalidInput(f"it cannot run on {target.name}: {'; '.join(reasons)}")


def _require_trial(winner: StoredWinner, trial: Trial) -> None:
    key, status = trial.key, trial.outcome.status
    if (status, key.problem_id, key.target) != ("ok", winner.problem_id, winner.target):
        raise InvalidInput(
            f"its trial is {status!r} for {key.problem_id} on {key.target}; an ok trial of the "
            "same problem and target is needed"
        )
    median = trial.outcome.median
    if median is None or not isclose(median, winner.median, rel_tol=1e-9):
        raise InvalidInput(
            f"its time {seconds_text(winner.median)} is not the {seconds_text(median)} of its trial"
        )
    if trial.environment_id != winner.environment_id:
        raise InvalidInput("its environment is not that of its trial")
