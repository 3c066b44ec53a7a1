"""Search: one strategy in one space, until trials, configs or time run out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.report.progress import SearchStarted
from gdn_ops.tuner.search.batches import Batches
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.search.warm_start import nearest_best_configs
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.strategies import AUTO, Strategy, StrategySetup, make_strategy, strategy_for


@dataclass(frozen=True, kw_only=True)
class Options:
    """How spaces are searched.

    Args:
        trials: configs tried in each space. Configs that were tried in earlier runs count, unless
            ``again``.
        strategy: a name in ``STRATEGIES``, or ``auto``.
        seed: of the strategy.
        width: configs compiled side by side.
        compiled_per_timed: configs compiled for each one that is timed, in a space that has more
            configs than ``trials``.
        plans: names of the plans to search; empty for all.
        cover: share of the fastest variant's speed that one of few variants must reach at every
            size of a problem; None: each size has the winner of its own.
        again: also tune finished problems, with ``trials`` further configs in each space.
    """

    trials: int = 40
    strategy: str = AUTO
    seed: int = 0
    width: int = 1
    compiled_per_timed: int = 1
    plans: tuple[str, ...] = ()
    again: bool = False
    cover: float | None = None


@dataclass(frozen=True)
class Found:
    """The best right config of a space and its seconds."""

    space: Space
    config: Config
    seconds: float


def search(
    space: Space, runner: TrialRunner, *, options: Options, deadline: Deadline
) -> Found | None:
    """Search a space and return the best config of this run and of earlier ones.

    Args:
        deadline: no trial starts after it.

    Returns:
        None if no config is right.
    """
    known = runner.known(space)
    budget = options.trials - (0 if options.again else len(known))
    name = strategy_for(options.strategy, space, trials=budget + len(known))
    left = max(0, min(budget, len(space.configs) - len(known)))
    runner.context.report(
        SearchStarted(space=space.label, configs=len(space.configs), trials=left, strategy=name)
    )
    for _, trial in known:
        runner.report_trial(space.label, trial, fresh=False)
    best = _Best(known)
    if budget > 0 and not deadline.passed:
        setup = _setup(space, runner, known, options)
        strategy = make_strategy(name, setup)
        covered = len(space.configs) <= budget
        batches = Batches(
            strategy, space, runner,
            first=setup.first, width=options.width,
            compiled_per_timed=1 if covered else options.compiled_per_timed,
        )  # fmt: skip
        _run(batches, strategy, space, runner, best=best, budget=budget, deadline=deadline)
    return None if best.config is None else Found(space, best.config, best.seconds)


class _Best:
    """The fastest correct config so far."""

    def __init__(self, known: Sequence[tuple[Config, Trial]]) -> None:
        self.config: Config | None = None
        self.seconds = float("inf")
        for config, trial in known:
            self.see(config, trial)

    def see(self, config: Config, trial: Trial) -> None:
        seconds = trial.outcome.ranked_seconds
        if seconds is not None and seconds < self.seconds:
            self.config, self.seconds = config, seconds


def _run(
    batches: Batches, strategy: Strategy, space: Space, runner: TrialRunner, *,
    best: _Best, budget: int, deadline: Deadline,
) -> None:  # fmt: skip
    for config in batches.configs(budget):
        if deadline.passed:
            return
        limit = None if best.config is None else best.seconds
        trial = runner.run(space, config, best=limit)
        strategy.tell(config, trial.outcome)
        best.see(config, trial)


def _setup(
    space: Space, runner: TrialRunner, known: Sequence[tuple[Config, Trial]], options: Options
) -> StrategySetup:
    first = [space.initial_config, *nearest_best_configs(space, runner.store)]
    return StrategySetup(
        space=space,
        seed=options.seed,
        first=tuple(first),
        known=tuple((config, trial.outcome) for config, trial in known),
    )
