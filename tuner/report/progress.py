"""The events that a campaign reports while it runs, and the view that prints them as lines."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TextIO

from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.report.counted import counted
from gdn_ops.tuner.report.printable import printable

if TYPE_CHECKING:
    # imports SQLAlchemy, which takes a third of a second, and commands that only read do without
    from gdn_ops.tuner.store.records import StoredWinner, Trial

KNOWN_TRIALS_SECONDS = 5.0
"""Seconds between two lines about known trials, of which there may be hundreds."""


@dataclass(frozen=True, kw_only=True)
class ProblemStarted:
    """The tuning of a problem starts; ``deadline`` ends its share of the time, ``whole`` all."""

    problem_id: str
    number: int
    total: int
    deadline: Deadline
    whole: Deadline = NO_DEADLINE


@dataclass(frozen=True, kw_only=True)
class SearchStarted:
    """A search of a space with ``configs`` valid configs, at most ``trials`` of them new."""

    space: str
    configs: int
    trials: int
    strategy: str


@dataclass(frozen=True, kw_only=True)
class TrialEnded:
    """A trial was recorded; if not ``fresh``, it was in the database before this run."""

    space: str
    trial: Trial
    fresh: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class FinalsStarted:
    """The best variants are timed once more, in turn."""

    variants: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class WinnerStored:
    """A winner was stored; if not ``final``, it was not timed in finals."""

    winner: StoredWinner
    text: str
    final: bool


@dataclass(frozen=True, kw_only=True)
class ProblemEnded:
    """The tuning of a problem ended; ``outcome`` says how, ``ok`` whether it has a winner."""

    problem_id: str
    outcome: str
    ok: bool


@dataclass(frozen=True, kw_only=True)
class Note:
    """A line of text."""

    text: str


Event = (
    ProblemStarted | SearchStarted | TrialEnded | FinalsStarted | WinnerStored | ProblemEnded | Note
)
Report = Callable[[Event], None]


class View(Protocol):
    """Shows events while a campaign runs; used as a context manager."""

    def __call__(self, event: Event) -> None: ...

    def __enter__(self) -> View: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@dataclass
class SpaceTally:
    """Counts of the trials in one space, ``known`` of earlier runs, and the best of them."""

    space: str
    configs: int
    trials: int
    strategy: str
    statuses: Counter[str] = field(default_factory=Counter)
    seen: set[int] = field(default_factory=set)
    known: int = 0
    best: float | None = None
    best_text: str = ""

    @property
    def tried(self) -> int:
        return self.statuses.total()

    @property
    def ok(self) -> int:
        return self.statuses["ok"]

    @property
    def failed(self) -> int:
        return self.tried - self.ok

    def add(self, event: TrialEnded) -> bool:
        """Count a trial once; return whether it is the best so far."""
        outcome = event.trial.outcome
        if event.trial.id in self.seen:
            return False
        self.seen.add(event.trial.id)
        self.known += not event.fresh
        self.statuses[outcome.status] += 1
        if outcome.status != "ok" or outcome.median is None:
            return False
        if self.best is not None and outcome.median >= self.best:
            return False
        self.best, self.best_text = outcome.median, event.text
        return True


@dataclass
class Tally:
    """The state of a campaign, collected from its events for the views."""

    problem: ProblemStarted | None = None
    spaces: dict[str, SpaceTally] = field(default_factory=dict)
    current: str = ""
    finals: int = 0

    def add(self, event: Event) -> None:
        if isinstance(event, ProblemStarted):
            self.problem, self.spaces, self.current, self.finals = event, {}, "", 0
        elif isinstance(event, SearchStarted):
            self.current = event.space
            self.spaces.setdefault(
                event.space,
                SpaceTally(event.space, event.configs, event.trials, event.strategy),
            )
        elif isinstance(event, TrialEnded):
            self.spaces.setdefault(event.space, SpaceTally(event.space, 0, 0, "")).add(event)
        elif isinstance(event, FinalsStarted):
            self.finals = len(event.variants)


class LinesView:
    """Prints one line per event, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._tally = Tally()
        self._known = 0
        self._own: set[int] = set()
        self._spoke = time.monotonic()

    def __enter__(self) -> LinesView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.flush()

    def __call__(self, event: Event) -> None:
        self._tally.add(event)
        if isinstance(event, TrialEnded):
            if event.fresh:
                self._own.add(event.trial.id)
            elif event.trial.id in self._own:
                return
            else:
                self._known += 1
                if time.monotonic() - self._spoke < KNOWN_TRIALS_SECONDS:
                    return
        if self._known:
            known, self._known = self._known, 0
            self._say(f"    {counted(known, 'known trial')} of earlier runs")
        if not isinstance(event, TrialEnded) or event.fresh:
            self._say(line_of(event, self._tally))

    def _say(self, text: str) -> None:
        self._spoke = time.monotonic()
        print(printable(text), file=self._stream, flush=True)


def line_of(event: Event, tally: Tally) -> str:
    """The line that describes an event."""
    match event:
        case ProblemStarted():
            left = f", {event.deadline} for it" if event.deadline.limited else ""
            left += f", {event.whole} left for all" if event.whole.limited else ""
            return f"problem {event.number} of {event.total}: {event.problem_id}{left}"
        case SearchStarted():
            return (
                f"  {event.space}: {event.configs} configs, {event.strategy}, "
                f"at most {event.trials} new trials"
            )
        case TrialEnded():
            return _trial_line(event, tally.spaces[event.space])
        case FinalsStarted():
            return f"  finals: {len(event.variants)} variants and the reference, interleaved"
        case WinnerStored():
            return f"  winner{'' if event.final else ' so far'}: {event.text}"
        case ProblemEnded():
            return f"  {event.outcome}"
        case Note():
            return event.text


def _trial_line(event: TrialEnded, tally: SpaceTally) -> str:
    outcome = event.trial.outcome
    result = seconds_text(outcome.median) if outcome.median is not None else ""
    if outcome.status != "ok":
        result = f"{outcome.status} {first_line(outcome.message)}".rstrip()
    best = f"; best {seconds_text(tally.best)}" if tally.best is not None else ""
    return f"    trial {event.trial.id} recorded: {event.text or 'defaults'}: {result}{best}"


def first_line(text: str, width: int = 100) -> str:
    """The first line of a message, cut to a number of characters."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= width else line[: width - 1] + "…"
