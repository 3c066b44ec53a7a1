"""Prediction: the variant that should win on a GPU nobody has measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.errors import GdnError, UnsupportedProblem
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cost.descent import descend
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.spaces.config_sets import CONFIG_SETS, refusals
from gdn_ops.tuner.spaces.space import Space, StageSpaces, plans_for

INTERFACES = 2
"""Interfaces of a plan that are looked at, the default first."""
SEARCH = "search"
"""Beside the sets of configs: a descent in each stage's space."""
CHOICES = (*CONFIG_SETS, SEARCH)
BUDGET = 40
"""Configs of a stage that a search compiles: two passes over its axes."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A variant, put together from the best predicted config of each stage, and its seconds."""

    problem: Problem
    variant: Variant
    seconds: float


def predict(
    problem: Problem, model: CostModel, *, configs: str = "corners", budget: int = BUDGET
) -> list[Prediction]:
    """The best predicted variant of each plan that can run a problem on the target, best first.

    Stages run one after another, so each is predicted apart, as tuning times each apart.

    Args:
        configs: of a stage that are compiled: ``default``, ``corners``, ``all``, or those of a
            ``search``, which goes on from what is fastest so far; see ``descend``.
        budget: configs of a stage that a search compiles at the most.

    Raises:
        UnsupportedProblem: no plan of kernels can run the problem there; says why.
    """
    found, faults = [], []
    for plan, interfaces in plans_for(problem, model.target).items():
        if any(KERNELS[name].language != "triton" for name in PLANS[plan].stages(problem)[:1]):
            continue  # plain PyTorch
        for spaces in interfaces[:INTERFACES]:
            try:
                if configs == SEARCH:
                    found.append(_searched(spaces, model, budget))
                else:
                    found.append(_best(plan, problem, dict(spaces[0].interface), model, configs))
            except GdnError as error:
                faults.append(str(error))
    if not found:
        raise UnsupportedProblem(
            f"no kernel of {problem.id()} can be predicted for {model.target.name}: "
            + ("; ".join(faults) or "no plan of kernels takes it; see `gdn explain`.")
        )
    by_plan: dict[str, Prediction] = {}
    for prediction in sorted(found, key=lambda p: p.seconds):
        by_plan.setdefault(prediction.variant.plan, prediction)
    return list(by_plan.values())


def _best(
    plan: str, problem: Problem, interface: Config, model: CostModel, configs: str
) -> Prediction:
    """The variant of an interface with the best predicted config of each stage."""
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
    return Prediction(problem=problem, variant=variant, seconds=total)


def _searched(spaces: StageSpaces, model: CostModel, budget: int) -> Prediction:
    """The variant of an interface with the config of each stage that a descent ends at.

    All stages are searched side by side, so that their compiles fill the cores.
    """
    walks = {space: descend(space, budget) for space in spaces}
    asked = {space: next(walk) for space, walk in walks.items()}
    chosen: dict[str, Config] = {}
    total = 0.0
    while asked:
        model.compile([_work(space, c) for space, configs in asked.items() for c in configs])
        for space, configs in list(asked.items()):
            seconds = [_seconds(space, config, model) for config in configs]
            try:
                asked[space] = walks[space].send(seconds)
            except StopIteration as end:
                del asked[space]
                chosen[space.stage] = end.value
                # of a stage that the model cannot predict at all, this says why
                total += model.stage_seconds(*_work(space, end.value))
    first = spaces[0]
    variant = Variant.of(first.plan, first.problem, dict(first.interface), chosen)
    return Prediction(problem=first.problem, variant=variant, seconds=total)


def _work(space: Space, config: Config) -> tuple[str, str, Problem, Config]:
    return space.plan, space.stage, space.problem, {**config, **dict(space.interface)}


def _seconds(space: Space, config: Config, model: CostModel) -> float:
    """Of a config that does not compile or cannot start, infinite."""
    try:
        return model.stage_seconds(*_work(space, config))
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
    """Seconds by index of the candidates that compile and can start.

    Raises:
        GdnError: none of them does; the first one's reason.
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
