"""How well the cost model orders what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.store.records import Trial

MIN_VARIANTS = 4
"""Variants below which an order says nothing."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Predicted against measured times of one problem on one target.

    Args:
        problem_id, target: whose rows they are.
        variants: how many were measured and predicted.
        correlation: Spearman's, of the two orders.
        regret: time of the variant that was predicted the fastest, over that of the fastest; the
            mean of those that share the prediction.
        ratio: predicted over measured time, in the median.
    """

    problem_id: str
    target: str
    variants: int
    correlation: float
    regret: float
    ratio: float


Predict = Callable[[Problem, Variant], float]
"""Seconds of a variant."""


def judge(
    trials: Iterable[Trial], problems: Mapping[str, Mapping[str, object]], predict: Predict
) -> list[Judgement]:
    """Judge predictions of whole variants, problem by problem; those of few rows are left out.

    Args:
        trials: of one target; the fastest time of each variant counts.
        problems: facts by problem id.
        predict: may raise GdnError where it knows nothing.
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
            continue  # axes that are gone
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
    """Spearman's rank correlation; equal values share their mean rank. 0 where one is constant."""
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
    key = trial.key
    data = {"plan": key.plan, "interface": key.interface, "stages": key.config}
    return Variant.from_json(data, problem)


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(values)
    # the mean of the first and last place of equal values
    return [(order.index(v) + len(order) - 1 - order[::-1].index(v)) / 2 for v in values]
