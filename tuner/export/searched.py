"""The search spaces that were searched, with the trials of each in one environment."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.errors import GdnError, InvalidConfig, InvalidInput
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plan import Plan
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.codegen.stage_names import current_name
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import plan_named
from gdn_ops.results_url import Location
from gdn_ops.tuner.export.description import Description, LeftOut
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.report.counted import counted
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.models import FAULT
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.store.store import Store

Pairs = tuple[tuple[str, Value], ...]
Points = tuple[tuple[Pairs, "FoundTrial"], ...]


@dataclass(frozen=True)
class FoundTrial:
    """A trial and the name of the database that has it."""

    trial: Trial
    database: str


@dataclass(frozen=True, kw_only=True)
class SearchedSpace:
    """One space, and what was tried in it in one environment.

    A space has the configs of one stage with fixed values of the plan's interface axes. The whole
    variants of a plan with several stages are a space of their own: ``space`` is None, and a
    stage's axis is called ``stage.axis``.

    Args:
        parameters: the values of each parameter; one value if it is fixed.
        tried: each trial with its config, ordered by time and config.
    """

    problem: Problem
    target: Target
    plan: str
    space: Space | None
    parameters: tuple[tuple[str, tuple[Value, ...]], ...]
    environment: Environment
    tried: Points

    @property
    def fixed(self) -> dict[str, Value]:
        """The parameters with one value."""
        return {name: values[0] for name, values in self.parameters if len(values) == 1}


@dataclass(frozen=True)
class _Key:
    """What the trials of one space have in common."""

    plan: str
    stage: str | None
    parameters: tuple[tuple[str, tuple[Value, ...]], ...]
    interface: Pairs


def searched(description: Description) -> list[SearchedSpace]:
    """Every space of the wanted problems on a target that has trials, in a fixed order.

    Trials that are not of today's spaces, that are malformed, or that failed because of the machine
    are left out, with a warning ``LeftOut`` per problem and reason. A trial that two databases have
    is taken once.

    Raises:
        ResultsError: a database cannot be read.
    """
    found: dict[tuple[str, _Key, Environment], dict[object, tuple[Pairs, FoundTrial]]]
    found = defaultdict(dict)
    problems: dict[str, Problem] = {}
    for location in description.databases:
        with open_database(location, create=False, writable=False) as database:
            store = Store(database, warn=lambda text: warnings.warn(text, LeftOut, stacklevel=2))
            for problem in _problems(store, description, location):
                problems[problem.id()] = problem
                for key, environment, pairs, trial in _trials(store, description.target, problem):
                    same = (pairs, trial.created, trial.outcome.status, trial.outcome.samples)
                    trials = found[problem.id(), key, environment]
                    trials.setdefault(same, (pairs, FoundTrial(trial, location.name)))
    spaces = [
        _space(problems[problem_id], description.target, key, environment, tuple(tried.values()))
        for (problem_id, key, environment), tried in found.items()
    ]
    return sorted(spaces, key=_order)


def _problems(store: Store, description: Description, location: Location) -> Iterator[Problem]:
    """The wanted problems of a database, ordered by id."""
    for problem_id, facts in sorted(store.problems().items()):
        if description.wanted is not None and problem_id not in description.wanted:
            continue
        try:
            problem = Problem.from_facts(facts)
            if problem.id() != problem_id:
                raise InvalidInput(f"its facts are those of {problem.id():.200}")
            problem.bucket()
        except (GdnError, KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"problem {problem_id:.200} of {location.name} is left out: {error!s:.300}"
            warnings.warn(text, LeftOut, stacklevel=2)
        else:
            yield problem


def _trials(
    store: Store, target: Target, problem: Problem
) -> Iterator[tuple[_Key, Environment, Pairs, Trial]]:
    """The trials of a problem with the key of their space, their environment and config."""
    environments: dict[int, Environment] = {}
    left_out: Counter[str] = Counter()
    for trial in store.trials(target=target.name, problem_id=problem.id()):
        try:
            key, pairs = _placed(trial, problem)
            _require_figures(trial)
            if trial.environment_id not in environments:
                environment = store.environment(trial.environment_id)
                environments[trial.environment_id] = _sound(environment)
        except (GdnError, TypeError, ValueError, OverflowError) as error:
            left_out[f"{str(error).rstrip('.'):.200}"] += 1
        else:
            yield key, environments[trial.environment_id], pairs, trial
    for why, count in sorted(left_out.items()):
        text = f"left out {counted(count, 'trial')} of {problem.id()} on {target.name}: {why}."
        warnings.warn(text, LeftOut, stacklevel=2)


def _placed(trial: Trial, problem: Problem) -> tuple[_Key, Pairs]:
    """The space of a trial and its config there, every value checked."""
    key = trial.key
    if trial.outcome.status == FAULT:
        raise InvalidInput("the machine failed, e.g. its disk was full, which says nothing")
    if key.plan in PROVIDERS:
        raise InvalidInput("a library has no search space")
    plan = plan_named(key.plan)
    stages = plan.stages(problem)
    if key.stage is None:
        configs = {current_name(name, problem): config for name, config in key.config.items()}
        interface = _values(plan.axes, key.interface, plan.name)
    else:
        configs = {current_name(key.stage, problem): key.config}
        (stage,) = configs
        spec = KERNELS.get(stage)
        read = spec.shared if spec is not None and len(stages) > 1 else ()
        axes = tuple(axis for axis in plan.axes if axis.name in read)
        interface = _values(axes, key.interface, plan.name)
    if set(configs) - set(stages) or (key.stage is None and set(configs) != set(stages)):
        raise InvalidConfig(f"plan {plan.name} has other stages today")
    own = {name: _values(KERNELS[name].axes, config, name) for name, config in configs.items()}
    if len(configs) > 1:
        return _whole(plan, stages, interface, own)
    ((stage, config),) = own.items()
    fixed = tuple((name, (value,)) for name, value in interface.items())
    parameters = fixed + tuple((axis.name, axis.values) for axis in KERNELS[stage].axes)
    pairs = tuple(interface.items())
    return _Key(plan.name, stage, parameters, pairs), pairs + tuple(config.items())


def _whole(
    plan: Plan, stages: tuple[str, ...], interface: Config, own: Mapping[str, Config]
) -> tuple[_Key, Pairs]:
    """The space of the whole variants of a plan with several stages."""
    names = [(f"{stage}.{axis.name}", axis) for stage in stages for axis in KERNELS[stage].axes]
    parameters = tuple((axis.name, axis.values) for axis in plan.axes)
    parameters += tuple((name, axis.values) for name, axis in names)
    config = [(f"{stage}.{name}", value) for stage in stages for name, value in own[stage].items()]
    return _Key(plan.name, None, parameters, ()), (*interface.items(), *config)


def _values(axes: tuple[Axis, ...], config: Any, owner: str) -> dict[str, Value]:
    """The value of each axis, in the order of the axes."""
    if set(config) != {axis.name for axis in axes}:
        today = ", ".join(axis.name for axis in axes) or "none"
        then = ", ".join(sorted(config)) or "none"
        raise InvalidConfig(f"the axes of {owner} are {today} today; the trial has {then:.100}")
    return {axis.name: axis.check(config[axis.name]) for axis in axes}


def _require_figures(trial: Trial) -> None:
    """Raise OverflowError unless every resource fits in a float."""
    for figure in trial.outcome.resources.values():
        if isinstance(figure, int):
            float(figure)


def _sound(environment: Environment) -> Environment:
    for name, value in asdict(environment).items():
        wanted = int if name in ("threads", "harness_version") else str
        if not isinstance(value, wanted) and not (
            value is None and name in ("driver", "triton", "ptxas")
        ):
            raise InvalidInput(f"{name} of the environment is {value!r:.60}")
    return environment


def _space(
    problem: Problem,
    target: Target,
    key: _Key,
    environment: Environment,
    tried: Points,
) -> SearchedSpace:
    space = None
    if key.stage is not None:
        space = Space(problem, target, key.plan, key.interface, key.stage)
    return SearchedSpace(
        problem=problem, target=target, plan=key.plan, space=space, parameters=key.parameters,
        environment=environment, tried=tuple(sorted(tried, key=_moment)),
    )  # fmt: skip


def _moment(tried: tuple[Pairs, FoundTrial]) -> tuple[str, str]:
    pairs, found = tried
    return found.trial.created.isoformat(), repr(pairs)


def _order(space: SearchedSpace) -> tuple[str, ...]:
    stage = "" if space.space is None else space.space.stage
    return space.problem.id(), space.plan, stage, repr(space.fixed), space.environment.hash
