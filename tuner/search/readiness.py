"""Readiness: which interfaces of a plan compile, found out before any GPU time is spent on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space, StageKey, StageSpaces, with_stage_configs
from gdn_ops.tuner.workers.harness import Verdict

MAX_SUBSTITUTES = 16
"""Other configs that are compiled if the initial config of a stage does not compile."""


class Readiness:
    """Compiles the initial config of each stage once, and finds another one where that fails."""

    def __init__(self, runner: TrialRunner) -> None:
        self._runner = runner
        self._configs: dict[StageKey, Config | None] = {}

    def compile(self, interfaces: Iterable[StageSpaces]) -> None:
        """Compile the initial configs of the stages of some interfaces side by side."""
        unknown: dict[StageKey, Space] = {}
        for space in (space for spaces in interfaces for space in spaces):
            if space.stage_key not in self._configs:
                unknown.setdefault(space.stage_key, space)
        verdicts = self._compile([(space, space.initial_config) for space in unknown.values()])
        for space, verdict in zip(unknown.values(), verdicts, strict=True):
            config = space.initial_config if verdict.ok else self._substitute(space)
            self._configs[space.stage_key] = config
            if config is None:
                text = f"  {space.plan} {space.label} is skipped: none of its configs compiles; "
                self._runner.context.report(Note(text=text + verdict.message))

    def ready(self, spaces: StageSpaces) -> StageSpaces | None:
        """The interface, each stage with a config that compiles; None if a stage has none."""
        self.compile([spaces])
        configs = {space.stage: self._configs[space.stage_key] for space in spaces}
        found = {stage: config for stage, config in configs.items() if config is not None}
        return with_stage_configs(spaces, found) if len(found) == len(spaces) else None

    def _substitute(self, space: Space) -> Config | None:
        """The first config that compiles among those nearest to the default."""
        nearest = islice(space.nearest(), MAX_SUBSTITUTES + 1)
        others = [config for config in nearest if config != space.initial_config]
        verdicts = self._compile([(space, config) for config in others])
        return next((c for c, v in zip(others, verdicts, strict=True) if v.ok), None)

    def _compile(self, configs: Sequence[tuple[Space, Config]]) -> list[Verdict]:
        if not configs:
            return []
        work = [(s.plan, s.stage, {**dict(s.interface), **config}) for s, config in configs]
        return self._runner.harness.compile(self._runner.problem, work)()
