"""The comparison where contenders fail: who is blamed, and what that costs the others."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.compare import measuring
from bench.compare.cases import GRIDS, Case
from bench.compare.child import Child
from bench.compare.contender import Bound
from bench.compare.inputs import Inputs
from bench.compare.measuring import Lost, Pace, Uncapturable, measure
from bench.compare.ours import ours
from bench.compare.warming import warm
from gdn_ops.tuner.measure.timers import CaptureError, Run, Sampler
from gdn_ops.tuner.measure.timers.cpu import CpuTimer
from tests.bench.odd_peers import changing, contender, found

CPU = torch.device("cpu")
DECODE = next(case for case in GRIDS["tiny"]() if case.op == "decode")
PACE = Pace(rounds=5, seconds=0.05)


class Scripted(Child):
    """A child whose process answers from a list."""

    def __init__(self, *answers: tuple[str, str, Any]) -> None:
        super().__init__(("ours", "peer"), device="cpu", threads=1, pace=PACE)
        self.answers, self.asked = list(answers), []  # type: ignore[var-annotated]

    def _ask(self, case: Case, without: frozenset[str]) -> tuple[str, str, Any]:
        self.asked.append((set(without), set(self._eager_of(case))))
        return self.answers.pop(0)


def answer() -> tuple[str, str, dict[str, Any]]:
    return "measured", "", {"contenders": {"ours": {"times": {}}}, "conditions": {}}


def test_who_leaves_the_device_unusable_is_left_out_of_that_case_alone() -> None:
    child = Scripted(("lost", "peer", "illegal access"), answer(), answer())
    assert child.measure(DECODE)["contenders"]["peer"] == {"failed": "illegal access"}
    assert "peer" not in child.measure(DECODE)["contenders"]
    assert [without for without, _ in child.asked] == [set(), {"peer"}, set()]


def test_who_hangs_is_not_waited_for_again() -> None:
    child = Scripted(("hung", "peer", "no answer in 9 s"), answer(), answer())
    assert child.measure(DECODE)["contenders"]["peer"] == {"failed": "no answer in 9 s"}
    again = child.measure(DECODE)["contenders"]["peer"]["failed"]
    assert again.startswith("no answer in 9 s at decode") and "not tried again" in again
    assert [without for without, _ in child.asked] == [set(), {"peer"}, {"peer"}]


def test_who_cannot_be_captured_is_called_eagerly_and_left_out_if_that_fails() -> None:
    no = ("uncapturable", "peer", "neither")
    child = Scripted(no, no, answer())
    assert child.measure(DECODE)["contenders"]["peer"] == {"failed": "neither"}
    assert child.asked == [(set(), set()), (set(), {"peer"}), ({"peer"}, {"peer"})]


def test_who_cannot_be_captured_in_one_kind_of_call_is_captured_in_others() -> None:
    child = Scripted(("uncapturable", "peer", "neither"), answer(), answer())
    child.measure(next(case for case in GRIDS["tiny"]() if case.packed))
    child.measure(DECODE)
    assert [eager for _, eager in child.asked] == [set(), {"peer"}, set()]


def test_what_nobody_is_to_blame_for_fails_the_case() -> None:
    assert Scripted(("died", "", "the process died")).measure(DECODE) == {
        "failed": "the process died"
    }


def test_a_process_that_dies_costs_the_row_of_whose_turn_it_was() -> None:
    child = Child(("ours", "dying"), device="cpu", threads=1, pace=PACE, find=found)
    try:
        rows = child.measure(DECODE)["contenders"]
    finally:
        child.close()
    assert rows["dying"]["failed"].startswith("the process died")
    assert max(rows["ours"]["errors"].values()) < 1e-5 and rows["ours"]["times"]


def test_a_contender_that_changes_its_inputs_is_named() -> None:
    with pytest.raises(Lost) as caught:
        measure(DECODE, [contender("odd", changing), ours()], device=CPU, threads=1, pace=PACE)
    assert caught.value.name == "odd" and caught.value.why == "it modifies its inputs: h0"


class Recorder(CpuTimer):
    """A timer that notes who is to be timed eagerly, and captures nobody else."""

    asked: list[bool]

    def samplers(
        self, run: Run, sets: int, *, eager: bool = False, all_methods: bool = True
    ) -> dict[str, Sampler]:
        self.asked.append(eager)
        if not eager:
            raise CaptureError("it waits")
        return {"cpu-eager": lambda: 1e-3}


def test_ops_that_no_graph_holds_are_timed_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = Recorder(1)
    timer.asked = []
    monkeypatch.setattr(measuring, "timer_of", lambda device, threads: timer)

    def right(case: Case, x: Inputs) -> Bound:
        return ours().bind(case, x)

    eager = contender("eager", right, ("decode",))
    told: list[str] = []
    rows = measure(DECODE, [eager], device=CPU, threads=1, pace=PACE, at=told.append)
    assert timer.asked == [True] and told == ["eager", ""]
    assert rows["contenders"]["eager"]["times"]["cpu-eager"]["median"] == 1e-3
    with pytest.raises(Uncapturable, match="other"):
        measure(DECODE, [contender("other", right)], device=CPU, threads=1, pace=PACE)


def test_warming_tells_what_could_not_be_compiled() -> None:
    failures = warm(["ours", "nobody"], [DECODE], device="cpu", seconds=120.0, workers=2)
    assert failures == ["nobody, decode 1/2: KeyError: 'nobody'"]


def test_warming_ends_in_time() -> None:
    assert warm(["ours"], [DECODE], device="cpu", seconds=0.0, workers=1) == [
        "ours, decode 1/2: out of time"
    ]
