"""Prediction: the variants that should be fastest on a GPU where nothing was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.errors import GdnError, UnsupportedProblem
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cost.certainty import interval, lead, spread
from gdn_ops.tuner.cost.descent import descend
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.spaces.config_sets import CONFIG_SETS, refusals
from gdn_ops.tuner.spaces.space import Space, StageSpaces, plans_for

INTERFACES = 2
"""Interfaces that are tried of a plan, the default first."""
SEARCH = "search"
"""The choice besides the sets of configs: a descent in each stage's space."""
CHOICES = (*CONFIG_SETS, SEARCH)
BUDGET = 40
"""Configs that a search compiles of a stage: about two passes over its axes."""
UNVERIFIED = "its kernels have not run on a GPU yet; `gdn tune` checks and times it"
"""Why a plan that has not run on a GPU is not predicted."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A variant made of the best predicted config of each stage.

    Args:
        seconds: predicted.
        spread: the standard deviation of the logarithm of ``seconds``; see ``certainty``.
    """

    problem: Problem
    variant: Variant
    seconds: float
    spread: float = 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The seconds between which the true time is in 9 of 10 cases."""
        return interval(self.seconds, self.spread)


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What could be predicted of a problem's plans on a target.

    Args:
        predictions: the best variant of each plan, fastest first; at least one.
        left_out: plans that can run the problem but could not be predicted, each with the reason.
    """

    predictions: tuple[Prediction, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def lead(self) -> float | None:
        """The probability that the first is faster than the second; None if there is no second."""
        if len(self.predictions) < 2:
            return None
        first, second = self.predictions[:2]
        return lead((first.seconds, first.spread), (second.seconds, second.spread))


def predict(
    problem: Problem, model: CostModel, *, configs: str = "corners", budget: int = BUDGET
) -> Ranking:
    """Rank the plans that can run a problem on the model's target by their best variants.

    The stages of a plan run one after another, so each is predicted by itself, as tuning times
    each by itself.

    Args:
        configs: which configs of a stage are compiled: ``default``, ``corners``, ``all``, or
            ``search`` for a descent from the fastest so far; see ``descend``.
        budget: the most configs that a search compiles of a stage.

    Raises:
        UnsupportedProblem: no plan could be predicted; gives the reason of each.
    """
    found: list[Prediction] = []
    faults: dict[str, str] = {}
    for plan, interfaces in plans_for(problem, model.target).items():
        if not PLANS[plan].verified:
            faults[plan] = UNVERIFIED
            continue
        for spaces in interfaces[:INTERFACES]:
            try:
                if configs == SEARCH:
                    found.append(_searched(spaces, model, budget))
                else:
                    found.append(_best(plan, problem, dict(spaces[0].interface), model, configs))
            except GdnError as error:
                faults.setdefault(plan, str(error))
    by_plan: dict[str, Prediction] = {}
    for prediction in sorted(found, key=lambda p: p.seconds):
        by_plan.setdefault(prediction.variant.plan, prediction)
    left_out = {plan: reason for plan, reason in faults.items() if plan not in by_plan}
    if not by_plan:
        reasons = "; ".join(f"plan {plan}: {reason}" for plan, reason in left_out.items())
        raise UnsupportedProblem(
            f"no plan of {problem.id()} can be predicted for {model.target.name}: "
            + (reasons or "no plan can run it; see `gdn explain`.")
        )
    return Ranking(predictions=tuple(by_plan.values()), left_out=left_out)


def _best(
    plan: str, problem: Problem, interface: Config, model: CostModel, configs: str
) -> Prediction:
    """The variant of one interface with the best predicted config of each stage."""
    stages = PLANS[plan].stages(problem)
    work = {stage: list(_configs(plan, stage, problem, interface, model, configs))
            for stage in stages}  # fmt: skip
    model.compile([(plan, s, problem, config) for s, own in work.items() for config in own])
    chosen: dict[str, Config] = {}
    total = 0.0
    for stage, candidates in work.items():
        seconds = _predicted(plan, stage, problem, candidates, model)
        index = min(seconds, key=seconds.__getitem__)
        own = {axis.name for axis in KERNELS[stage].axes}
        chosen[stage] = {k: v for k, v in candidates[index].items() if k in own}
        total += seconds[index]
    variant = Variant.of(plan, problem, interface, chosen)
    return Prediction(
        problem=problem, variant=variant, seconds=total, spread=spread(variant, model.target)
    )


def _searched(spaces: StageSpaces, model: CostModel, budget: int) -> Prediction:
    """The variant of one interface with the config of each stage at which a descent ends.

    All stages are searched side by side, so that their compiles use all cores.
    """
    walks = {space: descend(space, budget) for space in spaces}
    asked = {space: next(walk) for space, walk in walks.items()}
    chosen: dict[str, Config] = {}
    total = 0.0
    while asked:
        model.compile([work_of(space, c) for space, configs in asked.items() for c in configs])
        for space, configs in list(asked.items()):
            seconds = [seconds_of(space, config, model) for config in configs]
            try:
                asked[space] = walks[space].send(seconds)
            except StopIteration as end:
                del asked[space]
                chosen[space.stage] = end.value
                # raises the reason if the model cannot predict the stage at all
                total += model.stage_seconds(*work_of(space, end.value))
    first = spaces[0]
    variant = Variant.of(first.plan, first.problem, dict(first.interface), chosen)
    return Prediction(
        problem=first.problem, variant=variant, seconds=total, spread=spread(variant, model.target)
    )


def work_of(space: Space, config: Config) -> tuple[str, str, Problem, Config]:
    """What the model compiles for a config of a space: plan, stage, problem and whole config."""
    return space.plan, space.stage, space.problem, {**config, **dict(space.interface)}


def seconds_of(space: Space, config: Config, model: CostModel) -> float:
    """The predicted seconds; infinite if the config does not compile, spills or cannot start."""
    try:
        return model.stage_seconds(*work_of(space, config))
    except GdnError:
        return inf


def _configs(
    plan: str, stage: str, problem: Problem, interface: Config, model: CostModel, configs: str
) -> Iterator[Config]:
    definition, spec = PLANS[plan], KERNELS[stage]
    for config in CONFIG_SETS[configs](spec, problem, definition):
        full = {**config, **interface}
        if not refusals(spec, problem, definition, full, model.target):
            yield full


def _predicted(
    plan: str, stage: str, problem: Problem, candidates: list[Config], model: CostModel
) -> Mapping[int, float]:
    """The seconds of the candidates that compile and can start, by their index.

    Raises:
        GdnError: there is none; with the reason of the first candidate.
    """
    seconds: dict[int, float] = {}
    first: GdnError | None = None
    for i, config in enumerate(candidates):
        try:
            seconds[i] = model.stage_seconds(plan, stage, problem, config)
        except GdnError as error:
            first = first or error
    if not seconds:
        raise first or UnsupportedProblem(f"stage {stage} refuses every config; see `gdn compile`.")
    return seconds
