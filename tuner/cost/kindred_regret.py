"""The regret of running a CPU on what was measured on another kind of CPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gdn_ops.tuner.store.records import Trial

WHOLE = "plan"
"""The scope of trials that count: whole variants. A stage's time is not that of a call."""


@dataclass(frozen=True)
class KindredRegret:
    """What a kind of CPU loses by the winner of another.

    Args:
        problem_id: the problem, measured on both.
        target: the kind of CPU that has no winner of its own.
        kindred: the kind of CPU whose winner it takes.
        ratio: time of that winner on ``target`` over the best time known there; >= 1.
    """

    problem_id: str
    target: str
    kindred: str
    ratio: float


def cpu_kinds(trials: Iterable[Trial]) -> list[str]:
    """The kinds of CPU on which whole variants were timed."""
    return sorted(_medians(trials))


def kindred_regrets(trials: Iterable[Trial]) -> list[KindredRegret]:
    """Regrets for each problem and ordered pair of kinds of CPU, by times of whole variants.

    A pair has none if the one kind's best variant was never timed on the other.
    """
    medians = _medians(trials)
    found = []
    for target, own in sorted(medians.items()):
        for kindred, others in sorted(medians.items()):
            for problem_id in sorted(own.keys() & others.keys() if kindred != target else ()):
                here, there = own[problem_id], others[problem_id]
                taken = min(there, key=lambda variant: there[variant])
                if taken in here:
                    ratio = here[taken] / min(here.values())
                    found.append(KindredRegret(problem_id, target, kindred, ratio))
    return found


def _medians(trials: Iterable[Trial]) -> Mapping[str, Mapping[str, dict[str, float]]]:
    """Seconds by kind of CPU, problem and variant; of a variant timed twice, the less."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for trial in trials:
        key, seconds = trial.key, trial.outcome.median
        timed = trial.outcome.status == "ok" and seconds is not None and trial.variant_id
        if timed and key.scope == WHOLE and key.target.startswith("cpu"):
            assert seconds is not None and trial.variant_id is not None
            own = found[key.target][key.problem_id]
            own[trial.variant_id] = min(seconds, own.get(trial.variant_id, seconds))
    return found
