"""Readiness: which interfaces of a plan compile, before any time of a GPU is spent on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from gdn_ops.codegen.axis import Config
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search.trial_runner import TrialRunner
from gdn_ops.tuner.spaces.space import Space, StageKey, StageSpaces, surrounded
from gdn_ops.tuner.workers.harness import Verdict

SUBSTITUTES = 16
"""Configs compiled in place of one that a stage cannot begin with."""


class Readiness:
    """Compiles what stages begin with, each once, and finds another config for what fails."""

    def __init__(self, runner: TrialRunner) -> None:
        self._runner = runner
        self._configs: dict[StageKey, Config | None] = {}

    def check(self, interfaces: Iterable[StageSpaces]) -> None:
        """Compile side by side what the stages of some interfaces begin with."""
        unknown: dict[StageKey, Space] = {}
        for space in (space for spaces in interfaces for space in spaces):
            if space.stage_key not in self._configs:
                unknown.setdefault(space.stage_key, space)
        verdicts = self._compile([(space, space.start) for space in unknown.values()])
        for space, verdict in zip(unknown.values(), verdicts, strict=True):
            begin = space.start if verdict.ok else self._substitute(space)
            self._configs[space.stage_key] = begin
            if begin is None:
                text = f"  {space.plan} {space.label} is left: nothing of it compiles; "
                self._runner.context.report(Note(text=text + verdict.message))

    def of(self, spaces: StageSpaces) -> StageSpaces | None:
        """The interface with a config that compiles around each stage; None if a stage has none."""
        self.check([spaces])
        configs = {space.stage: self._configs[space.stage_key] for space in spaces}
        found = {stage: config for stage, config in configs.items() if config is not None}
        return surrounded(spaces, found) if len(found) == len(spaces) else None

    def _substitute(self, space: Space) -> Config | None:
        """Of the nearest other configs the first that compiles."""
        others = [c for c in islice(space.nearest(), SUBSTITUTES + 1) if c != space.start]
        verdicts = self._compile([(space, config) for config in others])
        return next((c for c, v in zip(others, verdicts, strict=True) if v.ok), None)

    def _compile(self, configs: Sequence[tuple[Space, Config]]) -> list[Verdict]:
        if not configs:
            return []
        work = [(s.plan, s.stage, {**dict(s.interface), **config}) for s, config in configs]
        return self._runner.harness.compile(self._runner.problem, work)()
