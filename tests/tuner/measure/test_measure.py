from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.errors import InvalidConfig, UnknownName
from gdn_ops.tuner.measure.interleaving import CUT_MARGIN, LOOK_EVERY, MAX_ROUNDS, interleaved
from gdn_ops.tuner.measure.measurement import _done, run
from gdn_ops.tuner.measure.timers import SAMPLE_SECONDS, batch, timer_of
from gdn_ops.tuner.measure.timers.nvml import gpu_warnings, throttling

PROBLEM = Problem(
    op="forward", H=1, HV=2, K=16, V=16, dtype="fp32", tokens=48, sequences=1, final_state=True
)
PROBLEMS = {
    "batch": PROBLEM,
    "packed": replace(
        PROBLEM, varlen=True, sequences=3, initial_state=True, gate_in_kernel=True, dt_bias=True
    ),
    "decode": replace(PROBLEM, op="decode", tokens=3, sequences=3, initial_state=True),
    "backward": replace(PROBLEM, op="backward", initial_state=True),
}


@pytest.fixture(autouse=True)
def own_cache_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def job(problem: Problem, variants: list[Variant], **changes: Any) -> dict[str, Any]:
    defaults = {
        "stage": None, "reference": False, "device": "cpu", "threads": 1, "rounds": 3,
        "seconds": 0.0, "stop_above": None, "settle": False, "eager": True,
    }  # fmt: skip
    data = [variant.to_json() for variant in variants]
    return {"problem": problem.facts(), "variants": data, **defaults, **changes}


def chunked(problem: Problem) -> list[Variant]:
    stage = "torch_backward" if problem.op == "backward" else "torch_chunk"
    stages = [{stage: {"BT": BT}} for BT in (16, 32)]
    return [Variant.of("torch", problem, stages=configs) for configs in stages]


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_variants_and_reference_are_timed_round_by_round(problem: Problem) -> None:
    decode = problem.op == "decode"
    variants = [Variant.default("torch", problem)] if decode else chunked(problem)
    payload = run(job(problem, variants, reference=True))
    assert json.loads(json.dumps(payload)) == payload
    assert [row["id"] for row in payload["rows"]] == [variant.id for variant in variants]
    for row in [*payload["rows"], payload["reference"]]:
        assert len(row["samples"]) == 3
        assert 0 < min(row["samples"]) <= row["low"] <= row["median"] <= row["high"]
        assert row["cut"] is False
    assert payload["method"] == "cpu-eager"


def test_conditions_tell_threads_and_load() -> None:
    payload = run(job(PROBLEM, chunked(PROBLEM), threads=1))
    conditions = payload["conditions"]
    assert conditions["threads"] == 1 == torch.get_num_threads()
    assert conditions["sets"] >= 2
    assert conditions["cores"] >= 1
    assert conditions["cores_of_others"] is None or conditions["cores_of_others"] >= 0
    assert payload["reference"] is None


def test_more_threads_than_cores_are_flagged() -> None:
    timer = timer_of(torch.device("cpu"), threads=4096)
    assert "4096 threads share" in timer.conditions()["warnings"][0]


@pytest.mark.parametrize(
    "stage",
    [
        "solve",
        *(
            pytest.param(other, marks=pytest.mark.exhaustive)
            for other in ("gate_cumsum", "chunk_wu", "chunk_h", "chunk_o")
        ),
    ],
)
def test_a_stage_of_interpreted_kernels_can_be_timed_alone(stage: str) -> None:
    problem = replace(PROBLEM, tokens=20)
    stages = [{"chunk_h": {"BV": BV}} for BV in (16, 32)]
    variants = [Variant.of("split", problem, {"BT": 16}, stage) for stage in stages]
    payload = run(job(problem, variants, stage=stage, rounds=1))
    assert [len(row["samples"]) for row in payload["rows"]] == [1, 1]


def test_variants_of_other_interfaces_do_not_share_a_stage() -> None:
    variants = [Variant.of("split", PROBLEM, {"BT": BT}) for BT in (16, 32)]
    with pytest.raises(InvalidConfig, match="have different interfaces"):
        run(job(PROBLEM, variants, stage="chunk_h"))


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(UnknownName, match="stage of plan torch 'solve'"):
        run(job(PROBLEM, chunked(PROBLEM), stage="solve"))


def test_a_hopeless_candidate_is_cut_and_keeps_its_samples() -> None:
    payload = run(job(PROBLEM, chunked(PROBLEM), stop_above=1e-9, reference=True, rounds=4))
    assert [(len(row["samples"]), row["cut"]) for row in payload["rows"]] == [(2, True)] * 2
    assert len(payload["reference"]["samples"]) == 4


def test_a_fast_library_does_not_end_the_run_before_our_fastest_is_known() -> None:
    steady = [1.0 + 0.001 * i for i in range(10)]
    ours = {"a": steady, "b": [1.0 + 0.04 * (-1) ** i for i in range(10)]}
    samples = {**ours, "library": [x / 9 for x in steady]}
    assert _done([tuple(samples)], samples) == set(samples)
    assert _done([tuple(samples), tuple(ours)], samples) == {"library"}


def test_only_a_call_is_in_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0, 2_000_000)  # each reading of the clock is 2 ms after the last
    monkeypatch.setattr("gdn_ops.tuner.measure.timers.cpu.perf_counter_ns", lambda: next(clock))
    seen: list[int] = []
    sampler = timer_of(torch.device("cpu"), threads=1).samplers(seen.append, 3)["cpu-eager"]
    seen.clear()
    assert sampler() == pytest.approx(2e-3 / 3)
    assert sorted(seen) == [0, 1, 2]


class Contenders:
    """Samplers of fixed seconds that log who was sampled when, and advance a clock."""

    def __init__(self, **seconds: float) -> None:
        self.now, self.log = 0.0, ""
        self.samplers: dict[str, Callable[[], float]] = {
            name: lambda name=name, each=each: self.sample(name, each)
            for name, each in seconds.items()
        }

    def sample(self, name: str, seconds: float) -> float:
        self.log += name
        self.now += seconds
        return seconds

    def run(self, **options: Any) -> dict[str, list[float]]:
        return interleaved(self.samplers, clock=lambda: self.now, **options)


def test_rounds_alternate_their_direction() -> None:
    contenders = Contenders(A=1.0, B=1.0, C=1.0)
    samples = contenders.run(rounds=3, seconds=0.0)
    assert contenders.log == "ABCCBAABC"
    assert samples == {"A": [1.0] * 3, "B": [1.0] * 3, "C": [1.0] * 3}


@given(st.integers(1, 9), st.floats(0.1, 50.0), st.floats(0.01, 2.0))
def test_rounds_go_on_until_the_budget_is_used(rounds: int, budget: float, each: float) -> None:
    contenders = Contenders(A=each, B=each)
    taken = len(contenders.run(rounds=rounds, seconds=budget)["A"])
    assert rounds <= taken <= max(rounds, MAX_ROUNDS)
    if rounds < taken:
        assert (taken - 1) * 2 * each < budget * (1 + 1e-9)
    if taken < MAX_ROUNDS:
        assert contenders.now >= budget * (1 - 1e-9)


def test_a_cut_needs_two_samples_clearly_above_the_limit() -> None:
    contenders = Contenders(A=1.0, B=1.0 * CUT_MARGIN, C=1.2)
    samples = contenders.run(rounds=5, seconds=0.0, stop_above={"A": 1.0, "B": 1.0, "C": 1.0})
    assert {name: len(taken) for name, taken in samples.items()} == {"A": 5, "B": 5, "C": 2}


def test_one_slow_sample_cuts_nobody() -> None:
    times = iter([9.0, 1.0, 1.0, 1.0])
    samples = interleaved({"A": lambda: next(times)}, rounds=4, seconds=0.0, stop_above={"A": 1.0})
    assert len(samples["A"]) == 4


def test_contenders_that_are_done_get_no_more_samples_and_the_run_ends_with_the_last() -> None:
    contenders = Contenders(A=1.0, B=1.0)
    looks: list[int] = []

    def done(samples: Mapping[str, list[float]]) -> set[str]:
        looks.append(len(samples["A"]))
        return {"B"} if len(looks) == 1 else {"A", "B"}

    samples = contenders.run(rounds=3, seconds=1000.0, done=done)
    assert looks == [3, 3 + LOOK_EVERY]
    assert {name: len(taken) for name, taken in samples.items()} == {"A": 3 + LOOK_EVERY, "B": 3}


@given(st.floats(1e-8, 10.0), st.integers(1, 128))
def test_a_batch_is_long_enough_and_uses_every_set_alike(seconds: float, sets: int) -> None:
    calls = batch(seconds, sets)
    assert calls * seconds >= SAMPLE_SECONDS * (1 - 1e-9)
    assert calls == 1 or calls % sets == 0
    assert (calls - sets) * seconds < SAMPLE_SECONDS


def test_throttling_and_company_are_told_in_words() -> None:
    assert throttling(0x04 | 0x40 | 0x01) == ["power cap", "hardware thermal slowdown"]
    assert throttling(0x01 | 0x02) == []  # idle, and clocks that the user set
    assert gpu_warnings(["power cap"], 3) == [
        "throttled GPU: power cap", "shared GPU: 2 other processes compute on it"
    ]  # fmt: skip
    assert gpu_warnings([], 1) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_timed_as_a_graph_and_eagerly() -> None:
    problem = replace(PROBLEM, dtype="bf16", tokens=256)
    payload = run(job(problem, [Variant.default("torch", problem)], device="cuda:0"))
    (row,) = payload["rows"]
    assert payload["method"] == "cuda-graph"
    assert len(row["samples"]) == len(row["eager"]["samples"]) == 3
    assert {"before", "after", "warnings"} <= set(payload["conditions"])
