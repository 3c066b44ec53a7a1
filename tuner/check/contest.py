"""Contest: one problem measured on both sides, pair by pair, until the gate decides."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from typing import Any

from gdn_ops.tuner.check.facts import Described
from gdn_ops.tuner.check.gate import LOOKS, Decision, Limits, decide
from gdn_ops.tuner.check.processes import Failure, Samples, SideProcess
from gdn_ops.tuner.check.states import State

MAX_DROPPED = 3
"""Pairs of one problem that are dropped because they were disturbed; later ones count."""
MAX_SPREAD = 0.05
"""Largest median absolute deviation of the samples of one process, over their median."""
MAX_CLOCK_RATIO = 1.05
"""Largest ratio of the GPU's clocks during the two halves of a pair."""
TURNS = 4
"""Turns of each side in one pair, an even number: base, head, head, base, and so on. What drifts
meanwhile cancels, and a burst of other work hits both sides."""
ROUNDS = 2
"""Samples per turn, at least."""


@dataclass(frozen=True)
class Effort:
    """How long is measured.

    Args:
        device, threads: as both sides report them.
        seconds: of samples per process and problem.
    """

    device: str
    threads: int
    seconds: float


@dataclass
class Contest:
    """One problem, and the pairs taken so far.

    Args:
        sides: what each measured side runs the problem on, by role.
        limits: what counts as slower.
        stored: seconds per call of a side that was read from a file, by role.
        shown: medians of the processes of such a side, for the report.
    """

    sides: Mapping[str, Described]
    limits: Limits
    stored: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    samples: dict[str, list[Samples]] = field(default_factory=dict)
    dropped: int = 0
    disturbances: list[str] = field(default_factory=list)
    failure: tuple[str, Failure] | None = None
    decision: Decision | None = None

    @property
    def open(self) -> bool:
        """Whether more pairs are needed."""
        undecided = self.decision is None or self.decision.state is None
        return undecided and self.failure is None

    @property
    def pairs(self) -> int:
        return max((len(taken) for taken in self.samples.values()), default=0)

    @property
    def spread(self) -> float:
        """The median absolute deviation of the pairs' ratios from their median, as a fraction."""
        logs = self._log_ratios()
        middle = statistics.median(logs)
        return statistics.median(abs(x - middle) for x in logs)

    def medians(self, role: str) -> tuple[float, ...]:
        """The median of each process of a side, in seconds per call."""
        if role in self.stored:
            return (self.stored[role],) * self.pairs
        return tuple(samples.median for samples in self.samples.get(role, ()))

    def again(self) -> Contest:
        """The same contest without any pairs, to confirm an alarm."""
        return Contest(self.sides, self.limits, self.stored, self.shown)

    def take(self, processes: Mapping[str, SideProcess], effort: Effort, *, number: int) -> None:
        """Take one pair: each side in a fresh process, in turns base, head, head, base, and so on.

        Args:
            processes: by role.
            number: of the pair; in every second one the head begins.
        """
        order = [role for role in ("base", "head") if role in self.sides]
        if number % 2:
            order.reverse()
        taken: dict[str, Samples] = {}
        for role in (order + order[::-1]) * (TURNS // 2):
            found = processes[role].measure(self._job(role, effort))
            if isinstance(found, Failure):
                self.failure = (role, found)
                return
            taken[role] = taken[role] + found if role in taken else found
        self._count(taken)

    def load(self, role: str, processes: Sequence[Sequence[float]]) -> None:
        """Count what a file holds of a side, up to the last look; no more pairs are taken.

        Args:
            processes: samples of each process, in seconds.
        """
        enough = [look.pairs for look in LOOKS if look.pairs <= len(processes)]
        taken = processes[: enough[-1] if enough else None]
        self.samples[role] = [Samples(tuple(seconds), "stored") for seconds in taken]
        decision = decide(self._log_ratios(), self.limits)
        self.decision = replace(decision, state=decision.state or State.INCONCLUSIVE)

    def _count(self, taken: Mapping[str, Samples]) -> None:
        disturbed = [d for samples in taken.values() if (d := _disturbance(samples))]
        disturbed += _other_clock(taken)
        if disturbed and self.dropped < MAX_DROPPED:
            self.dropped += 1
            self.disturbances += disturbed
            return
        for role, samples in taken.items():
            self.samples.setdefault(role, []).append(samples)
        self.decision = decide(self._log_ratios(), self.limits)

    def _log_ratios(self) -> list[float]:
        return [log(h / b) for b, h in zip(self.medians("base"), self.medians("head"), strict=True)]

    def _job(self, role: str, effort: Effort) -> dict[str, Any]:
        side = self.sides[role]
        return {
            "problem": dict(side.facts),
            "variant": side.variant,
            "device": effort.device,
            "threads": effort.threads,
            "rounds": ROUNDS,
            "seconds": effort.seconds / TURNS,
            "companions": len(self.sides) - 1,
        }


def _disturbance(samples: Samples) -> str:
    """What disturbed the samples of a process, in words; empty if nothing did."""
    if samples.warnings:
        return "; ".join(samples.warnings)
    if samples.spread > MAX_SPREAD:
        return f"samples of one process vary by more than {MAX_SPREAD:.0%}"
    return ""


def _other_clock(taken: Mapping[str, Samples]) -> list[str]:
    """In words, that the GPU ran at different clocks for the two sides; empty if it did not."""
    clocks = {role: samples.clock for role, samples in sorted(taken.items()) if samples.clock}
    if len(clocks) < 2 or max(clocks.values()) <= MAX_CLOCK_RATIO * min(clocks.values()):
        return []
    return [" and ".join(f"{clock:g} MHz for the {role}" for role, clock in clocks.items())]
