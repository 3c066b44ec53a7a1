"""The GPU's timer on a GPU that is played: methods, what a capture holds, what breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from gdn_ops.codegen.errors import InvalidConfig
from gdn_ops.tuner.measure import measurement as measure_module
from gdn_ops.tuner.measure.interleaving import interleaved
from gdn_ops.tuner.measure.measurement import REFERENCE, Pace
from gdn_ops.tuner.measure.timers import CaptureError, cuda
from gdn_ops.tuner.measure.timers.cuda import EAGER, GRAPH, CudaTimer
from gdn_ops.workers.worker import status_of

LAUNCH, KERNEL = 0.003, 0.001
"""Seconds that an eager launch waits for the CPU, and that a call takes on the GPU."""


class Gpu:
    """Calls take their time by a clock; while a graph is captured they are only noted.

    Args:
        error: what a call raises during a capture.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.now, self.error = 0.0, error
        self.capturing: list[int] | None = None
        self.eager: list[int] = []
        self.graphs: list[list[int]] = []

    def run(self, i: int) -> None:
        if self.capturing is None:
            self.now += LAUNCH + KERNEL
            self.eager.append(i)
        elif self.error is not None:
            raise self.error
        else:
            self.capturing.append(i)

    @contextmanager
    def graph(self, graph: Graph, pool: object) -> Iterator[None]:
        self.capturing = graph.calls
        self.graphs.append(graph.calls)
        try:
            yield
        finally:
            self.capturing = None


class Graph:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.calls = gpu, list[int]()

    def replay(self) -> None:
        self.gpu.now += KERNEL * len(self.calls)


class Event:
    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.at = gpu, 0.0

    def record(self) -> None:
        self.at = self.gpu.now

    def synchronize(self) -> None:
        assert self.gpu.capturing is None

    def elapsed_time(self, end: Event) -> float:
        return 1e3 * (end.at - self.at)


def timer_on(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch, *, l2: int = 50, free: int = 10**6
) -> CudaTimer:
    fakes = {
        "set_device": lambda device: None,
        "graph_pool_handle": lambda: (0, 1),
        "get_device_properties": lambda device: SimpleNamespace(L2_cache_size=50),
        "mem_get_info": lambda device: (free, free),
        "synchronize": lambda: None,
        "Event": lambda enable_timing: Event(gpu),
        "CUDAGraph": lambda: Graph(gpu),
        "graph": gpu.graph,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(cuda, "gpu_state", lambda device: {"warnings": []})
    monkeypatch.setattr(cuda, "monotonic", lambda: gpu.now)
    monkeypatch.setattr(CudaTimer, "last_work", float("-inf"))
    return CudaTimer(torch.device("cuda"))


def test_a_graph_holds_one_call_a_set_and_its_times_are_without_the_launches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu()
    samplers = timer_on(gpu, monkeypatch).samplers(gpu.run, 3)
    assert list(samplers) == [GRAPH, EAGER], "the preferred method first"
    assert gpu.graphs == [[0, 1, 2]]
    assert gpu.eager[:3] == [0, 1, 2], "every set is warm before the capture"
    assert samplers[GRAPH]() == pytest.approx(KERNEL)
    assert samplers[EAGER]() == pytest.approx(LAUNCH + KERNEL)


def test_eager_times_are_left_where_nobody_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu()
    samplers = timer_on(gpu, monkeypatch).samplers(gpu.run, 3, all_methods=False)
    assert list(samplers) == [GRAPH]
    assert gpu.eager == [0, 1, 2], "but for the calls before the capture"


def test_a_gpu_that_has_just_worked_is_warmed_up_for_less_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu()
    timer = timer_on(gpu, monkeypatch)

    def warming() -> float:
        before = gpu.now
        timer.samplers(gpu.run, 1, all_methods=False)
        return gpu.now - before

    assert warming() > cuda.WARM_SECONDS
    assert cuda.REWARM_SECONDS < warming() < cuda.WARM_SECONDS
    gpu.now += 2 * cuda.STILL_WARM
    assert warming() > cuda.WARM_SECONDS


def test_what_may_wait_for_the_gpu_is_never_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(RuntimeError("operation not permitted when stream is capturing"))
    samplers = timer_on(gpu, monkeypatch).samplers(gpu.run, 2, eager=True)
    assert list(samplers) == [EAGER]
    assert gpu.graphs == []


def test_a_failed_capture_ends_the_job_and_gives_no_eager_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu(RuntimeError("operation not permitted when stream is capturing\nmore"))
    with pytest.raises(CaptureError, match="in a CUDA graph: operation not permitted") as e:
        timer_on(gpu, monkeypatch).samplers(gpu.run, 2)
    assert "\n" not in str(e.value)
    assert status_of(e.value) == "invalid", "upon which the pool ends the process"


def test_memory_that_runs_out_in_a_capture_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError) as caught:
        timer_on(gpu, monkeypatch).samplers(gpu.run, 2)
    assert status_of(caught.value) == "oom"


def test_the_sets_fill_the_cache_several_times_or_the_conditions_say_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timer = timer_on(Gpu(), monkeypatch)
    assert timer.argument_sets(50) == 4
    assert timer.conditions()["warnings"] == []
    timer = timer_on(Gpu(), monkeypatch, free=300)
    assert timer.argument_sets(50) == 2
    assert timer.conditions()["warnings"] == ["warm L2: 2 argument sets fill it 2.0 times"]


def test_a_row_names_its_method_and_keeps_the_eager_times_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = Gpu()
    timer = timer_on(gpu, monkeypatch)
    samplers = {name: timer.samplers(gpu.run, 2) for name in ("one", "two")}
    samplers[REFERENCE] = timer.samplers(gpu.run, 2, eager=True)
    monkeypatch.setattr(
        measure_module, "interleaved",
        lambda *args, **more: interleaved(*args, **more, clock=lambda: gpu.now),
    )  # fmt: skip
    rows, method = measure_module._sample(samplers, Pace(rounds=3, seconds=0.0))
    assert method == GRAPH
    for name in ("one", "two"):
        assert rows[name]["method"] == GRAPH
        assert rows[name]["median"] == pytest.approx(KERNEL)
        assert rows[name]["eager"]["median"] == pytest.approx(LAUNCH + KERNEL)
    assert rows[REFERENCE]["method"] == EAGER
    assert "eager" not in rows[REFERENCE]


def test_times_of_two_methods_are_never_one_result() -> None:
    def sample() -> float:
        raise AssertionError("nothing is timed")

    samplers = {"one": {GRAPH: sample, EAGER: sample}, "two": {EAGER: sample}}
    with pytest.raises(InvalidConfig, match="cuda-graph and by cuda-eager"):
        measure_module._sample(samplers, Pace(rounds=3, seconds=0.0))
