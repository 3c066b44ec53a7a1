"""MeasuredCheck: finds out what each side runs, verifies the head and takes pairs of times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.baseline_file import Baseline, Run, StoredRow, read_baseline
from gdn_ops.tuner.check.comparison import Comparison
from gdn_ops.tuner.check.contest import Contest, Effort
from gdn_ops.tuner.check.facts import (
    Described,
    DeviceError,
    SideFacts,
    described,
    differing,
    each_once,
    facts_of,
    incomparable,
    named,
)
from gdn_ops.tuner.check.gate import Limits
from gdn_ops.tuner.check.outcome import CheckRow
from gdn_ops.tuner.check.processes import SideError, SideProcess, running
from gdn_ops.tuner.check.sides import Side
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.check.stored_side import stored_facts, stored_row

VERIFY_REPEATS = 2
"""Runs of the head whose bits must be equal."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is compared, and how.

    Args:
        base, head: see ``sides.opened``.
        problems: facts of buckets; None for those that have winners on either side.
        device: a torch device, or ``auto`` for the first GPU, else the CPU.
        database: results database of each side; see ``sides.opened``.
        threads: CPU threads; None for PyTorch's default.
        seconds: of samples per process and problem.
        limits: what counts as slower, by the target and the problem's id.
        everything: also measure what is the same on both sides.
        save: a baseline file that the run will be added to, to be checked before measuring.
    """

    base: str | None = None
    head: str | None = None
    problems: Sequence[Mapping[str, Any]] | None = None
    device: str = "auto"
    database: Path | None = None
    threads: int | None = None
    seconds: float
    limits: Callable[[str, str], Limits] = field(default=lambda target, name: Limits())
    everything: bool = False
    save: Path | None = None


class MeasuredCheck:
    """One measured check under way: what each side runs, and what was found of each problem."""

    def __init__(
        self, request: Request, sides: Mapping[str, Side], say: Callable[[str], None]
    ) -> None:
        self._request, self._sides, self._say = request, sides, say
        self._files: dict[str, Baseline] = {
            role: read_baseline(side.stored) for role, side in sides.items() if side.stored
        }
        self._live = [side for role, side in sides.items() if role not in self._files]
        self._facts: dict[str, SideFacts] = {
            role: stored_facts(baseline.newest) for role, baseline in self._files.items()
        }
        self._comparisons: list[Comparison] = []
        self._other_rows: list[CheckRow] = []
        self.notes: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        facts = self._facts.get("head") or self._facts.get("base")
        return {} if facts is None else facts.conditions

    def rows(self) -> tuple[CheckRow, ...]:
        return (*self._other_rows, *(comparison.row() for comparison in self._comparisons))

    def run(self) -> None:
        """Find out what each side runs, and compare what differs."""
        try:
            self._look()
        except DeviceError as error:
            self._skip(State.ENVIRONMENT, str(error))
            return
        except SideError as error:
            # a base that cannot be used is a wrong command line; a head, what the check is for
            if error.role == "base":
                raise InvalidInput(str(error)) from error
            self._skip(State.CRASHED, str(error))
            return
        self._verify()
        self._measure()

    def saved(self, started: str) -> Run | None:
        """What was measured of the head, for a baseline file."""
        rows = [
            StoredRow(
                described=each.head,
                processes=tuple(s.seconds for s in each.contest.samples["head"]),
            )
            for each in self._comparisons
            if each.contest is not None and each.contest.samples.get("head")
        ]
        if not rows or "head" in self._files:
            return None
        facts = self._facts["head"]
        return Run(
            label=self._sides["head"].label,
            started=started,
            target=facts.target,
            environment=facts.environment,
            rows=tuple(rows),
        )

    def _look(self) -> None:
        request = self._request
        with running(self._live, threads=request.threads) as processes:
            for process in processes:
                facts = facts_of(process, device=request.device, threads=request.threads)
                self._facts[process.side.role] = facts
                self.notes += facts.faults
            base, head = self._facts["base"], self._facts["head"]
            if request.save is not None and request.save.exists():
                saved = read_baseline(request.save).newest
                if difference := differing(saved.conditions, head.conditions):
                    raise InvalidInput(
                        f"{request.save} is of another environment ({difference}); save to "
                        "another file."
                    )
            problems = self._problems()
            if difference := incomparable(base, head, live=not self._files):
                self._skip(State.ENVIRONMENT, f"the sides differ in {difference}", problems)
                return
            found = {
                process.side.role: described(process, problems, device=head.device or base.device)
                for process in processes
            }
        for role, baseline in self._files.items():
            found[role] = [stored_row(baseline.newest, facts) for facts in problems]
        for pair in zip(found["base"], found["head"], strict=True):
            self._compare(*pair)

    def _problems(self) -> list[Mapping[str, Any]]:
        """The facts of the problems to compare."""
        if self._request.problems is not None:
            return each_once(self._request.problems)
        base, head = self._facts["base"], self._facts["head"]
        problems = each_once([*head.winners, *base.winners])
        if not problems:
            raise InvalidInput(
                f"neither side has winners for {head.target}; name a workload (see `gdn check "
                "--help`), or run `gdn tune` first."
            )
        return problems

    def _compare(self, base: Described, head: Described) -> None:
        """Add a comparison, unless only the facts of its bucket are written otherwise."""
        ids = (base.id, head.id)
        if any(ids) and ids in [(each.base.id, each.head.id) for each in self._comparisons]:
            return
        target = self._facts["head"].target
        limits = self._request.limits(target, head.id or base.id or "")
        comparison = Comparison(target=target, base=base, head=head, limits=limits)
        self._comparisons.append(comparison)
        comparison.look(everything=self._request.everything)

    def _skip(
        self, state: State, why: str, problems: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Add a row for each problem, or one for all, that says why it cannot be compared."""
        given = self._request.problems if problems is None else problems
        facts = self._facts.get("head") or self._facts.get("base")
        target = self._request.device if facts is None else facts.target
        rows = [named(each) for each in given or ()] or [("every problem", "all", "")]
        self._other_rows += [
            CheckRow(
                target=target,
                op=op,
                name=name,
                dtype=dtype,
                state=state,
                message=why,
            )
            for name, op, dtype in rows
        ]

    @property
    def _undecided(self) -> list[Comparison]:
        return [comparison for comparison in self._comparisons if comparison.undecided]

    @property
    def _effort(self) -> Effort:
        facts = self._facts[self._live[0].role if self._live else "head"]
        return Effort(facts.device, facts.threads, self._request.seconds)

    def _verify(self) -> None:
        """Run the accuracy gate on what the head runs, unless it is of a file."""
        waiting = self._undecided
        if "head" in self._files:
            for comparison in waiting:
                comparison.judge(None)
            return
        if not waiting:
            return
        self._say(f"verifying {len(waiting)} of {len(self._comparisons)} problems of the head")
        effort = self._effort
        with running([self._sides["head"]], threads=effort.threads) as (process,):
            for comparison in waiting:
                start = monotonic()
                failure = process.verify(
                    {
                        "problem": dict(comparison.head.facts),
                        "variant": comparison.head.variant,
                        "device": effort.device,
                        "interpret": False,
                        "repeats": VERIFY_REPEATS,
                    }
                )
                comparison.judge(failure)
                comparison.seconds += monotonic() - start

    def _measure(self) -> None:
        """Take pairs until every comparison is decided.

        Each round starts one fresh process per side, in which every open contest takes one pair.
        """
        for comparison in self._undecided:
            comparison.contest = self._contest(comparison)
            comparison.conclude()
        number, total = 0, len(self._undecided)
        while waiting := self._undecided:
            again = sum(comparison.alarm is not None for comparison in waiting)
            confirming = f", {again} of them being measured again after an alarm" if again else ""
            self._say(
                f"pair {number + 1}: {len(waiting)} of {total} problems undecided{confirming}"
            )
            with self._processes() as processes:
                for comparison in waiting:
                    assert comparison.contest is not None
                    start = monotonic()
                    comparison.contest.take(processes, self._effort, number=number)
                    comparison.conclude()
                    comparison.seconds += monotonic() - start
            number += 1

    def _contest(self, comparison: Comparison) -> Contest:
        """The contest of a comparison, with limits as wide as the files of its sides need."""
        both = {"base": comparison.base, "head": comparison.head}
        for role, baseline in self._files.items():
            noise, runs = baseline.noise(both[role].facts)
            comparison.limits = replace(
                comparison.limits, noise=max(noise, comparison.limits.noise)
            )
            comparison.notes.append(
                f"The {role} was measured apart: the threshold is wider by {noise:.1%}, the noise "
                f"between runs (of {runs})."
            )
        seconds = {role: file.seconds(both[role].facts) for role, file in self._files.items()}
        shown = {role: file.medians(both[role].facts) for role, file in self._files.items()}
        if len(seconds) < len(both):
            sides = {role: side for role, side in both.items() if role not in seconds}
            return Contest(sides, comparison.limits, seconds, shown)
        row = self._files["head"].newest.row(both["head"].facts)
        assert row is not None
        contest = Contest({}, comparison.limits, {"base": seconds["base"]}, shown)
        contest.load("head", row.processes)
        return contest

    @contextmanager
    def _processes(self) -> Iterator[dict[str, SideProcess]]:
        with running(self._live, threads=self._effort.threads) as processes:
            yield {process.side.role: process for process in processes}
