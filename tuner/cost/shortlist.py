"""Shortlist: predicting many problems with few compiles.

The plans are compared with default configs. Then for each stage of the best plans the default is
compared with the configs that were best where the stage was first met. Only there it is searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.errors import GdnError, UnsupportedProblem
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cost.certainty import spread
from gdn_ops.tuner.cost.descent import descend
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.cost.prediction import UNVERIFIED, Prediction, Ranking, seconds_of, work_of
from gdn_ops.tuner.spaces.space import Space, StageSpaces, plans_for

FEW = "few"
"""The name of this choice of configs, besides those of ``predict``."""
UNSEEN = ("num_stages", "loads", "exp", "enable_fp_fusion", "evict", "unroll", "LIMIT")
"""Axes whose effect the cost model does not see or misjudges, or that would multiply the compiles;
they keep their defaults."""
SINGLE_PASS = ("tf32", "fp16")
"""Precisions that round operands once. They pass the accuracy gate only with mild inputs, so none
is chosen unseen."""
BUDGET = 14
"""Configs that the search of a stage compiles: about one pass over its axes."""
CLOSE = 1.25
"""Plans whose time with default configs is at most this multiple of the best are compared on."""
FAR = 3.0
"""Plans whose time is more than this multiple of the best are not predicted in its place where it
cannot run or is slow: the default may be as fast."""
GAIN = 0.97
"""A config replaces the default if its time is at most this share of the default's: the model's
error is larger than smaller gains."""

HOPELESS = 8.0
"""A plan that took this multiple of the best for an earlier problem of its kind is left out."""

StageKind = tuple[str, bool]
PlanKind = tuple[str, str, str]


class Shortlist:
    """The configs of each stage that are worth comparing.

    A stage is searched where it is first met, and again for other sizes of that problem, for which
    the same compiled code counts. What is found follows from the order of the problems, so the same
    problems give the same predictions.

    Args:
        lead: the model of the target on which stages are searched.
    """

    def __init__(self, lead: CostModel) -> None:
        self.lead = lead
        self.hopeless: dict[PlanKind, float] = {}
        self._found: dict[StageKind, list[Config]] = {}
        self._searched: dict[StageKind, str] = {}

    def configs(self, spaces: StageSpaces) -> dict[Space, list[Config]]:
        """The default of each stage first, then others that are valid there."""
        new = []
        for space in spaces:
            name = space.problem.sizeless_id()
            if self._searched.setdefault(_kind(space), name) == name:
                new.append(replace(space, target=self.lead.target))
        for space, best in _searched(new, self.lead).items():
            found = self._found.setdefault(_kind(space), [])
            if best != space.initial_config and best not in found:
                found.append(best)
        return {space: self._valid(space) for space in spaces}

    def _valid(self, space: Space) -> list[Config]:
        stage, vector = _kind(space)
        found = [*self._found.get((stage, vector), ()), *self._found.get((stage, not vector), ())]
        valid = [config for config in found if not space.reasons(config)]
        return list({space.point(c): c for c in (space.initial_config, *valid)}.values())


def predict_shortlist(problem: Problem, model: CostModel, shortlist: Shortlist) -> Ranking:
    """Rank the plans that can run a problem, like ``predict`` but with few compiles.

    Raises:
        UnsupportedProblem: no plan could be predicted; gives the reason of each.
    """
    faults: dict[str, str] = {}
    plans: dict[str, StageSpaces] = {}
    for plan, interfaces in plans_for(problem, model.target).items():
        if not PLANS[plan].verified:
            faults[plan] = UNVERIFIED
        elif (times := shortlist.hopeless.get(_kind_of_plan(plan, problem))) is not None:
            faults[plan] = f"it took {times:.0f} times as long as the best for a like problem"
        else:
            plans[plan] = interfaces[0]
    defaults = {plan: [(s, s.initial_config) for s in spaces] for plan, spaces in plans.items()}
    model.compile([work_of(s, c) for chosen in defaults.values() for s, c in chosen])
    found: list[Prediction] = []
    for plan, chosen in defaults.items():
        try:
            seconds = sum(model.stage_seconds(*work_of(s, c)) for s, c in chosen)
        except GdnError as error:
            faults[plan] = str(error)
        else:
            found.append(_prediction(plans[plan], dict(chosen), seconds, model))
    least = min((prediction.seconds for prediction in found), default=inf)
    # where no default can be predicted, another config of a stage may do what its default cannot
    close = {p.variant.plan for p in found if p.seconds <= CLOSE * least} or set(plans)
    ranked: list[Prediction] = []
    for plan in sorted(close):
        try:
            ranked.append(_refined(plans[plan], model, shortlist))
        except GdnError as error:
            faults[plan] = str(error)
    if not ranked:
        raise _none(problem, model, faults)
    for prediction in found:
        if prediction.variant.plan not in close:
            ranked.append(prediction)
        if prediction.seconds > HOPELESS * least:
            kind = _kind_of_plan(prediction.variant.plan, problem)
            shortlist.hopeless.setdefault(kind, prediction.seconds / least)
    ranked.sort(key=lambda prediction: prediction.seconds)
    left_out = {plan: reason for plan, reason in faults.items()
                if plan not in {p.variant.plan for p in ranked}}  # fmt: skip
    return Ranking(predictions=tuple(ranked), left_out=left_out)


def compiled_ranking(ranking: Ranking, model: CostModel, shortlist: Shortlist) -> Ranking:
    """Rank anew the predictions of another architecture's model, from code for this model's target.

    The plans that are close to the best are compiled with the configs of the shortlist. Then those
    that were expected to be slower, while they still may be the fastest.

    Raises:
        UnsupportedProblem: none can run; gives the reason of each.
    """
    problem, least = ranking.predictions[0].problem, ranking.predictions[0].seconds
    spaces = plans_for(problem, model.target)
    faults = dict(ranking.left_out)
    found: list[Prediction] = []
    fastest = FAR * least
    for expected in ranking.predictions:
        plan = expected.variant.plan
        if expected.seconds > max(CLOSE * least, min(fastest, FAR * least)):
            break
        try:
            found.append(_refined(spaces[plan][0], model, shortlist))
        except GdnError as error:
            faults[plan] = str(error)
        fastest = min((prediction.seconds for prediction in found), default=fastest)
    if not found:
        raise _none(problem, model, faults)
    found.sort(key=lambda prediction: prediction.seconds)
    return Ranking(predictions=tuple(found), left_out=faults)


def _none(problem: Problem, model: CostModel, faults: Mapping[str, str]) -> UnsupportedProblem:
    reasons = "; ".join(f"plan {plan}: {reason}" for plan, reason in faults.items())
    return UnsupportedProblem(
        f"no plan of {problem.id()} can be predicted for {model.target.name}: {reasons}"
    )


def _refined(spaces: StageSpaces, model: CostModel, shortlist: Shortlist) -> Prediction:
    """The best variant of a plan among the configs of the shortlist."""
    every = shortlist.configs(tuple(space for space in spaces if space.spec.compiled))
    model.compile([work_of(s, c) for s, configs in every.items() for c in configs])
    chosen: dict[Space, Config] = {s: s.initial_config for s in spaces}
    chosen |= {s: _fastest(s, configs, model) for s, configs in every.items()}
    total = sum(model.stage_seconds(*work_of(s, c)) for s, c in chosen.items())
    return _prediction(spaces, chosen, total, model)


def _searched(spaces: list[Space], model: CostModel) -> dict[Space, Config]:
    """The config of each stage at which a descent ends; all are searched side by side."""
    walks = {s: descend(s, BUDGET, _axes(s)) for s in spaces}
    asked = {s: next(walk) for s, walk in walks.items()}
    seen: dict[Space, list[Config]] = {s: [] for s in spaces}
    while asked:
        model.compile([work_of(s, c) for s, configs in asked.items() for c in configs])
        for space, configs in list(asked.items()):
            seen[space] += configs
            try:
                asked[space] = walks[space].send([seconds_of(space, c, model) for c in configs])
            except StopIteration:
                del asked[space]
    return {s: _fastest(s, configs, model) for s, configs in seen.items()}


def _fastest(space: Space, configs: list[Config], model: CostModel) -> Config:
    """The fastest config; the first one, the default, unless another is clearly faster."""
    times = [seconds_of(space, config, model) for config in configs]
    best = min(range(len(times)), key=times.__getitem__)
    return configs[best] if times[best] < GAIN * times[0] else configs[0]


def _axes(space: Space) -> list[Axis]:
    """The axes that are searched, with the values that may be chosen unseen."""
    usual = space.default
    searched = [axis for axis in space.axes if axis.name not in UNSEEN]
    return [replace(axis, values=_values(space, axis, usual[axis.name])) for axis in searched]


def _values(space: Space, axis: Axis, default: Value) -> tuple[Value, ...]:
    """The values of an axis that may be chosen unseen.

    Matrix products keep the default precision, or in place of fp32 take several passes, and their
    tiles are no smaller than the default: what small ones cost shows in no count, and compilers
    have got them wrong.
    """
    if axis.precision and default == "ieee":
        return tuple(v for v in axis.values if v not in SINGLE_PASS and v != "native")
    if axis.precision:
        return (default,)
    if axis.name in ("BK", "BV") and space.spec.precisions and isinstance(default, int):
        return tuple(v for v in axis.values if isinstance(v, int) and v >= default)
    return axis.values


def _prediction(
    spaces: StageSpaces, chosen: Mapping[Space, Config], seconds: float, model: CostModel
) -> Prediction:
    first = spaces[0]
    configs = {space.stage: config for space, config in chosen.items()}
    variant = Variant.of(first.plan, first.problem, dict(first.interface), configs)
    return Prediction(
        problem=first.problem,
        variant=variant,
        seconds=seconds,
        spread=spread(variant, model.target),
    )


def _kind(space: Space) -> StageKind:
    return space.stage, space.problem.rule.gate == "vector"


def _kind_of_plan(plan: str, problem: Problem) -> PlanKind:
    return plan, problem.op, problem.rule.name
