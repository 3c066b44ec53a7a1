"""How well the order that the cost model predicts agrees with the measured one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.store.records import Trial

MIN_VARIANTS = 4
"""With fewer variants their order says nothing."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Predicted against measured times of one problem on one target.

    Args:
        variants: number of variants that were both measured and predicted.
        correlation: Spearman's rank correlation of predicted and measured times.
        regret: measured time of the variant with the least predicted time, divided by that of the
            fastest variant. If several share the least predicted time, their mean.
        ratio: median of predicted over measured time.
    """

    problem_id: str
    target: str
    variants: int
    correlation: float
    regret: float
    ratio: float


Predict = Callable[[Problem, Variant], float]
"""Predicts the seconds of a variant."""


def judge(
    trials: Iterable[Trial], problems: Mapping[str, Mapping[str, object]], predict: Predict
) -> list[Judgement]:
    """Judge predictions of whole variants, per problem; problems with few variants are left out.

    Args:
        trials: of one target; the fastest trial of each variant counts.
        problems: facts by problem id.
        predict: may raise GdnError for a variant that it cannot predict.
    """
    rows: dict[tuple[str, str], dict[str, tuple[float, Variant]]] = {}
    for trial in trials:
        seconds = trial.outcome.ranked_seconds
        facts = problems.get(trial.key.problem_id)
        if seconds is None or facts is None or trial.key.scope != "plan":
            continue
        try:
            variant = _variant(trial, Problem.from_facts(facts))
        except (GdnError, KeyError, TypeError):
            continue  # its axes or values no longer exist
        if variant.provider:
            continue
        found = rows.setdefault((trial.key.problem_id, trial.key.target), {})
        if variant.id not in found or seconds < found[variant.id][0]:
            found[variant.id] = seconds, variant
    judged = []
    for (problem_id, target), found in rows.items():
        pairs = _pairs(found.values(), Problem.from_facts(problems[problem_id]), predict)
        if len(pairs) >= MIN_VARIANTS:
            judged.append(_judgement(problem_id, target, pairs))
    return judged


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's rank correlation; equal values share their mean rank. 0 if one is constant."""
    a, b = _ranks(first), _ranks(second)
    mean = (len(a) - 1) / 2
    product = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    norm = sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)
    return product / norm**0.5 if norm else 0.0


def _pairs(
    found: Iterable[tuple[float, Variant]], problem: Problem, predict: Predict
) -> list[tuple[float, float]]:
    pairs = []
    for seconds, variant in found:
        try:
            pairs.append((predict(problem, variant), seconds))
        except GdnError:
            continue
    return pairs


def _judgement(problem_id: str, target: str, pairs: list[tuple[float, float]]) -> Judgement:
    predicted, measured = zip(*pairs, strict=True)
    ratios = sorted(p / m for p, m in pairs)
    first = [m for p, m in pairs if p == min(predicted)]
    return Judgement(
        problem_id=problem_id,
        target=target,
        variants=len(pairs),
        correlation=spearman(predicted, measured),
        regret=sum(first) / len(first) / min(measured),
        ratio=ratios[len(ratios) // 2],
    )


def _variant(trial: Trial, problem: Problem) -> Variant:
    return Variant.from_json(trial.key.variant, problem)


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    # equal values get the mean of their first and last rank
    return [(order.index(v) + len(order) - 1 - order[::-1].index(v)) / 2 for v in values]
