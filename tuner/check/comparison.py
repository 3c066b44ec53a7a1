"""Comparison: one problem on both sides, from what they run it on to the row of the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gdn_ops.tuner.check.contest import Contest
from gdn_ops.tuner.check.facts import Described, named
from gdn_ops.tuner.check.gate import Decision, Limits, confirmed
from gdn_ops.tuner.check.outcome import CheckRow, Times
from gdn_ops.tuner.check.processes import Failure
from gdn_ops.tuner.check.states import State

WRONG = ("wrong", "nondeterministic")
"""Statuses of the accuracy gate that mean that the results are wrong."""


@dataclass
class Comparison:
    """One problem on both sides.

    Args:
        base, head: what each side runs it on.
        found: state and message, if they are known without measuring.
        contest: the pairs; None if none are taken.
        alarm: the decision of a first run, if it was *regressed* and ``contest`` is the second.
    """

    target: str
    base: Described
    head: Described
    limits: Limits
    found: tuple[State, str] | None = None
    contest: Contest | None = None
    alarm: Decision | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def facts(self) -> Mapping[str, Any]:
        return (self.head if self.head.runs else self.base).facts

    @property
    def undecided(self) -> bool:
        return self.found is None

    def look(self, *, everything: bool) -> None:
        """Settle what needs no measuring.

        Args:
            everything: also measure what is the same on both sides.
        """
        if not self.head.runs and not self.base.runs:
            self.found = (State.UNCHANGED, f"neither side can run it: {self.head.error}")
        elif not self.head.runs:
            self.found = (State.REMOVED, f"the head cannot run it: {self.head.error}")
        elif self.base.runs and self.base.key == self.head.key and not everything:
            self.found = (State.UNCHANGED, "")
        for side, described in (("base", self.base), ("head", self.head)):
            untuned = described.how in ("default", "fallback")
            if untuned and described.variant is not None and self.found is None:
                plan = described.variant["plan"]
                self.notes.append(f"The {side} has no winner and runs on plan {plan}'s default.")

    def judge(self, failure: Failure | None) -> None:
        """Take in what the accuracy gate says of the head."""
        if failure is not None:
            state = State.WRONG if failure.status in WRONG else State.CRASHED
            self.found = (state, f"{failure.status}: {failure.message}")
        elif not self.base.runs:
            self.found = (State.NEW, f"the base cannot run it: {self.base.error}")

    def conclude(self) -> None:
        """Take in what the contest found; start a second one if it is an alarm."""
        contest = self.contest
        if contest is None or contest.open:
            return
        if contest.failure is not None:
            role, failure = contest.failure
            what = f"the {role} failed while it was measured: {failure.status}: {failure.message}"
            self.found = (State.CRASHED if role == "head" else State.NEW, what)
            return
        assert contest.decision is not None
        if contest.decision.state is State.REGRESSED and self.alarm is None and contest.sides:
            self.alarm, self.contest = contest.decision, contest.again()
            return
        self.found = self._verdict(contest.decision)

    def row(self) -> CheckRow:
        """The row of the report; of an interrupted comparison with what there is."""
        state, message = self.found or self._interrupted()
        shown = self.head if self.head.id is not None else self.base
        name, op, dtype = named(shown.facts)
        return CheckRow(
            target=self.target,
            op=shown.op or op,
            name=shown.id or name,
            dtype=shown.dtype or dtype,
            state=state,
            message=message,
            notes=(*self.notes, *self._drops()),
            base=self.base.text or None,
            head=self.head.text or None,
            times=self._times(),
            seconds=self.seconds,
        )

    def _verdict(self, decision: Decision) -> tuple[State, str]:
        if self.alarm is not None:
            decision = confirmed(self.alarm, decision)
        assert decision.state is not None
        threshold = f"{100 * self.limits.widened_threshold:.3g}%"
        text = ""
        if decision.state is State.REGRESSED:
            text = f"{decision.ratio - 1:.1%} slower, above the threshold of {threshold}"
            text += "" if self.alarm is None else "; a second run confirms it"
        elif decision.state is State.INCONCLUSIVE:
            assert self.contest is not None
            pairs, spread = self.contest.pairs, self.contest.spread
            excess = decision.ratio - 1
            text = f"{pairs} pairs, which vary by {spread:.0%}, "
            if excess > self.limits.widened_threshold:
                text += f"say {excess:.1%} slower, which is not certain enough for an alarm"
            else:
                text += f"do not show that it is less than {threshold} slower"
        return decision.state, " ".join(filter(None, [text, decision.note]))

    def _interrupted(self) -> tuple[State, str]:
        pairs = 0 if self.contest is None else self.contest.pairs
        return State.INCONCLUSIVE, f"interrupted after {pairs} pairs"

    def _times(self) -> Times | None:
        contest = self.contest
        if contest is None or contest.decision is None:
            return None
        return Times(
            base=contest.shown.get("base") or contest.medians("base"),
            head=contest.shown.get("head") or contest.medians("head"),
            ratio=contest.decision.ratio,
            low=contest.decision.low,
            high=contest.decision.high,
            threshold=self.limits.widened_threshold,
            paired=not contest.stored,
            dropped=contest.dropped,
        )

    def _drops(self) -> list[str]:
        contest = self.contest
        if contest is None or not contest.dropped:
            return []
        pairs = "1 pair was" if contest.dropped == 1 else f"{contest.dropped} pairs were"
        return [f"{pairs} dropped ({'; '.join(dict.fromkeys(contest.disturbances))})."]
