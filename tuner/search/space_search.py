"""Search: one space, one strategy, until trials, configs or time run out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.deadline import Deadline
from gdn_ops.tuner.report.progress import SearchBegan
from gdn_ops.tuner.search.batches import Batches
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.search.warm_start import neighbours
from gdn_ops.tuner.spaces.sources import sources_of
from gdn_ops.tuner.spaces.space import Space
from gdn_ops.tuner.store.records import Trial
from gdn_ops.tuner.strategies import AUTO, Start, Strategy, start, strategy_for


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a search is run.

    Args:
        trials: new configs tried in each space; known ones count, too, unless ``again``.
        strategy: a name in ``STRATEGIES``, or ``auto``.
        width: configs compiled side by side.
        sieve: configs compiled for each that is timed, where a space has more than ``trials``.
        plans: names of the plans to search; empty for all.
        studies: file of Optuna's studies; None keeps them in memory.
        again: tune problems that are finished, and search on from where they stand.
    """

    trials: int = 40
    strategy: str = AUTO
    seed: int = 0
    width: int = 1
    sieve: int = 1
    plans: tuple[str, ...] = ()
    studies: Path | None = None
    again: bool = False


@dataclass(frozen=True)
class Found:
    """The best right config of a space."""

    space: Space
    config: Config
    seconds: float


def search(
    space: Space, runner: TrialRunner, *, options: Options, deadline: Deadline
) -> Found | None:
    """Search a space and return the best config it has seen, also in earlier runs.

    Args:
        deadline: no trial starts after it.

    Returns:
        None if no config is right.
    """
    known = runner.known(space)
    budget = options.trials - (0 if options.again else len(known))
    name = strategy_for(options.strategy, space, trials=budget + len(known))
    runner.context.report(
        SearchBegan(
            space=space.label, configs=len(space.configs), trials=max(0, budget), strategy=name
        )
    )
    for _, trial in known:
        runner.report_trial(space.label, trial, fresh=False)
    best = _Best(known)
    if budget > 0 and not deadline.passed:
        begin = _beginning(space, runner, known, options)
        strategy = start(name, begin)
        covered = len(space.configs) <= budget
        batches = Batches(
            strategy, space, runner,
            first=begin.first, width=options.width, sieve=1 if covered else options.sieve,
        )  # fmt: skip
        _run(batches, strategy, space, runner, best=best, budget=budget, deadline=deadline)
    return None if best.config is None else Found(space, best.config, best.seconds)


class _Best:
    """The fastest right config so far."""

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


def _source(space: Space) -> str | None:
    """Of the first config: what a study learnt of another source is of no use."""
    sources = sources_of(space.problem, space.variant(space.start))
    return None if sources is None else sources[space.stage]


def _beginning(
    space: Space, runner: TrialRunner, known: Sequence[tuple[Config, Trial]], options: Options
) -> Start:
    first = [space.start, *neighbours(space, runner.store)]
    context = runner.context
    study = "/".join(
        (space.target.name, space.problem.id(), space.plan, space.label,
         f"environment {context.environment}", f"axes {space.axes_hash}",
         f"source {_source(space)}")
    )  # fmt: skip
    return Start(
        space=space,
        seed=options.seed,
        first=tuple(first),
        known=tuple((config, trial.outcome) for config, trial in known),
        studies=options.studies,
        study=study,
    )
