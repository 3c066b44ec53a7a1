"""The farm and the pools: what happens to a job when the node that runs it is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import pytest

from gdn_ops.codegen.targets import TARGETS
from gdn_ops.errors import InvalidInput
from gdn_ops.tuner.cluster import farm as farms
from gdn_ops.tuner.cluster.actors import CompilingActor
from gdn_ops.tuner.cluster.farm import MAX_ASKED, Farm
from gdn_ops.tuner.cluster.fleet import Fleet, Wanted
from gdn_ops.tuner.cluster.member import Device, NoNodesLeft, Server
from gdn_ops.tuner.cluster.nodes import FREE_LOSSES, JOBS_PER_LOSS, Losses, Node
from gdn_ops.tuner.cluster.pools import DevicePool, FarmPool
from gdn_ops.tuner.interruption import Interrupted, Interruption
from gdn_ops.tuner.workers.worker_pool import Job
from tests.tuner.cluster.fake_ray import FakeRay, Method, RayError, node
from tests.tuner.search.recorded import ENVIRONMENT

JOBS = [Job(kind="compile", payload={"number": i}, timeout=60) for i in range(4)]
ANSWER: dict[str, Any] = {
    "status": "ok", "payload": {}, "message": "", "stderr": "", "seconds": 1.0,
}  # fmt: skip
NODES = [node("a"), node("b")]


class Compiler:
    """The actor of a node, which dies as often as ``dying`` says."""

    def __init__(self, place: str, dying: dict[str, int]) -> None:
        self.place, self._dying = place, dying
        self.ready = Method(lambda: None)
        self.compile = Method(self._compile)

    def _compile(self, kind: str, payload: dict[str, Any], timeout: float, left: float) -> Any:
        left_to_compile.append(left)
        if self._dying.get(self.place, 0) > 0:
            self._dying[self.place] -= 1
            raise RayError("The actor died.")
        return {**ANSWER, "payload": {**payload, "place": self.place}}


left_to_compile: list[float] = []


@contextmanager
def farm(dying: dict[str, int], *, again: bool) -> Iterator[tuple[Farm, list[Server]]]:
    """A farm of both nodes; with ``again`` a lost one is added once more."""
    lost: list[Server] = []

    def on_loss(server: Server, why: str) -> None:
        assert why == "RayError: The actor died."
        lost.append(server)
        if again:
            made.add(server.node, 1, server.work)

    ray = FakeRay(lambda kind, place: Compiler(place, dying), NODES)
    made = Farm(ray, on_loss, lambda node: None)
    for each in NODES:
        made.add(each, 1)
    try:
        yield made, lost
    finally:
        made.close()


def test_a_lost_nodes_jobs_are_compiled_elsewhere() -> None:
    entries: list[tuple[Any, Node]] = []
    with farm({"a": 1}, again=False) as (made, lost):
        pool = FarmPool(made, Interruption(), lambda entry, of: entries.append((entry, of)))
        results = list(pool.start(JOBS))
        assert {id(result.job) for result in results} == {id(job) for job in JOBS}
        assert {result.payload and result.payload["place"] for result in results} == {"b"}
        assert [server.label for server in lost] == ["a"]
        work = {server.label: server.work for server in made.servers}
        assert (work["a"].jobs, work["a"].lost) == (0, 1)
        assert (work["b"].jobs, work["b"].lost) == (4, 0)
        assert entries == [("entry", NODES[1])] * 4


def test_a_node_that_is_back_goes_on_and_keeps_its_account() -> None:
    with farm({"a": 1, "b": 1}, again=True) as (made, lost):
        results = list(FarmPool(made, Interruption()).start(JOBS))
        assert [result.status for result in results] == ["ok"] * 4
        assert sorted(server.label for server in lost) == ["a", "b"]
        assert len(made.servers) == 2
        assert sum(server.work.jobs for server in made.servers) == 4
        assert all(server.work.ended is None for server in made.servers)


def test_a_job_that_kills_every_node_it_runs_on_fails() -> None:
    with farm({"a": 99, "b": 99}, again=True) as (made, lost):
        (result,) = FarmPool(made, Interruption()).start(JOBS[:1])
        assert result.status == "fault"
        assert result.message.startswith(f"{MAX_ASKED} workers were lost while it ran, on ")
        assert len(lost) == MAX_ASKED


def test_without_a_node_that_compiles_there_is_no_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(farms, "NO_SERVER_SECONDS", 0.0)
    monkeypatch.setattr(farms, "TICK_SECONDS", 0.01)
    with (
        farm({"a": 1, "b": 1}, again=False) as (made, _),
        pytest.raises(NoNodesLeft, match="no node is left that could compile"),
    ):
        list(FarmPool(made, Interruption()).start(JOBS))


def test_an_answer_that_does_not_come_counts_as_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(farms, "ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(farms, "TICK_SECONDS", 0.01)
    silent = Compiler("a", {})
    never = Method(lambda *_: None)
    never.options = lambda *, num_returns: never  # type: ignore[method-assign]
    never.remote = lambda *_: (  # type: ignore[method-assign]
        type("Ref", (), {"future": lambda self: type("F", (), {"add_done_callback": print})})(),
        None,
    )
    silent.compile = never
    whys: list[str] = []
    ray = FakeRay(lambda kind, place: silent if place == "a" else Compiler(place, {}), NODES)
    made = Farm(ray, lambda server, why: whys.append(f"{server.label}: {why}"), lambda node: None)
    made.add(NODES[0], 1)
    made.add(NODES[1], 1)
    jobs = [replace(job, timeout=0.0) for job in JOBS]
    results = list(FarmPool(made, Interruption()).start(jobs))
    made.close()
    assert len(results) == 4
    assert whys == ["a: it did not answer within 0 seconds"]
    assert silent in ray.killed


def test_a_fault_of_the_farm_reaches_the_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    with farm({}, again=False) as (made, _):
        monkeypatch.setattr(made, "_told", lambda node: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            list(FarmPool(made, Interruption()).start(JOBS))


def test_an_interruption_ends_the_wait() -> None:
    interruption = Interruption()
    interruption.requested = True
    with farm({}, again=False) as (made, _), pytest.raises(Interrupted):
        list(FarmPool(made, interruption).start(JOBS))


class Meter:
    """The actor of a device; ``run`` and ``describe`` may be replaced by a test."""

    def __init__(self, place: str, run: Callable[[str], dict[str, Any]]) -> None:
        self.place = place
        payload = {"target": asdict(TARGETS["h200"]), "environment": asdict(ENVIRONMENT)}
        self.describe = Method(lambda: {**ANSWER, "payload": payload})
        self.run = Method(lambda kind, payload, timeout, left: run(self.place))
        self.keep = Method(lambda entry: kept.append((self.place, entry)))


kept: list[tuple[str, object]] = []


@contextmanager
def fleet(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[str], dict[str, Any]]
) -> Iterator[tuple[Fleet, FakeRay, list[str]]]:
    """Two nodes with a GPU each, whose devices answer jobs as ``run`` does for their node."""
    nodes = [node("a", cpus=2, gpus=1), node("b", cpus=2, gpus=1)]
    notes: list[str] = []

    def actor(kind: type, place: str) -> Any:
        return Compiler(place, {}) if kind is CompilingActor else Meter(place, run)

    ray = FakeRay(actor, nodes)
    monkeypatch.setattr("gdn_ops.tuner.cluster.fleet.mismatches", lambda ray, nodes: {})
    made = Fleet(ray, Wanted(), notes.append)
    try:
        yield made, ray, notes
    finally:
        made.close()


def test_no_job_starts_on_a_node_after_the_end_of_the_run() -> None:
    left_to_compile.clear()
    with farm({}, again=False) as (made, _):
        list(FarmPool(made, Interruption()).start([replace(JOBS[0], until=time.monotonic() - 5)]))
    (left,) = left_to_compile
    assert left <= -5, "seconds, as the node has a clock of its own"
    answer, entry = CompilingActor().compile("compile", {}, 60, left)
    assert (answer["status"], entry) == ("fault", None) and "not started" in answer["message"]


MEASURE = Job(kind="measure", payload={}, timeout=60)


def pool_of(made: Fleet, ray: FakeRay, device: Device) -> DevicePool:
    return DevicePool(ray, made, device, Interruption())


def test_a_lost_device_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    deaths = ["a"]

    def run(place: str) -> dict[str, Any]:
        if place in deaths:
            deaths.remove(place)
            raise RayError("The actor died.")
        return {**ANSWER, "payload": {"place": place}}

    with fleet(monkeypatch, run) as (made, ray, notes):
        first, second = made.join()
        pool = pool_of(made, ray, first)
        result = pool.one(MEASURE)
        assert result.payload == {"place": "a"}
        assert pool.device is not first and pool.device.work is first.work
        assert (first.work.jobs, first.work.lost, first.work.ended) == (1, 1, None)
        assert second.alive and len(made.devices) == 2
        assert notes == ["a worker of a was lost: RayError: The actor died."]


def test_a_lost_nodes_trial_is_asked_of_another_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(place: str) -> dict[str, Any]:
        if place == "a":
            ray.alive.pop("a", None)
            raise RayError("The node died.")
        return {**ANSWER, "payload": {"place": place}}

    with fleet(monkeypatch, run) as (made, ray, _):
        first, second = made.join()
        pool = pool_of(made, ray, first)
        assert pool.one(MEASURE).payload == {"place": "b"}
        assert pool.device is second
        assert made.devices == [second]
        assert [member.work.lost for member in made.members()[:2]] == [1, 0]


def test_a_trial_that_kills_what_it_runs_on_fails_and_a_node_that_keeps_dying_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(place: str) -> dict[str, Any]:
        raise RayError("The actor died.")

    with fleet(monkeypatch, run) as (made, ray, notes):
        first, second = made.join()
        pool = pool_of(made, ray, first)
        result = pool.one(MEASURE)
        assert result.status == "fault"
        assert result.message == "2 workers were lost while it ran, on a, a"
        assert not [note for note in notes if "left out" in note], "the trial may be to blame"
        assert pool.one(MEASURE).message.endswith("on a, b")
        assert "node a is left out, because it has lost 3 workers" in notes
        assert not second.alive
        assert pool.one(MEASURE).message.endswith("on b, b")
        with pytest.raises(NoNodesLeft, match="no node is left that measures on h200"):
            pool.one(MEASURE)


def test_a_node_that_works_may_lose_more() -> None:
    losses, one = Losses(), node("a")
    for _ in range(JOBS_PER_LOSS):
        losses.answered(one)
    assert [losses.add(one) for _ in range(FREE_LOSSES + 1)] == [0, 0, 0]
    assert not losses.left_out(one)
    assert losses.add(one) == FREE_LOSSES + 2
    assert losses.left_out(one)


def test_what_another_node_compiled_goes_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    kept.clear()
    with fleet(monkeypatch, lambda place: ANSWER) as (made, ray, _):
        first, second = made.join()
        pool = pool_of(made, ray, first)
        pool.take("own", first.node)
        pool.take("other", second.node)
        assert kept == [("a", "other")]


def test_a_node_that_joins_later_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    with fleet(monkeypatch, lambda place: ANSWER) as (made, ray, _):
        assert [device.label for device in made.join()] == ["a", "b"]
        assert made.join() == []
        ray.alive["c"] = node("c", cpus=4, gpus=2)
        assert [device.label for device in made.join()] == ["c gpu 0", "c gpu 1"]
        assert [member.role for member in made.members() if member.label.startswith("c")] == [
            "measures on h200", "measures on h200", "compiles on 2 CPUs",
        ]  # fmt: skip


def test_only_devices_of_the_wanted_target_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    with fleet(monkeypatch, lambda place: ANSWER) as (made, _, _):
        made._wanted = Wanted(target="a100")
        with pytest.raises(InvalidInput, match=r"no node .* --target a100.*the targets h200"):
            made.join()
        assert made.devices == []


def test_a_node_with_too_few_cpus_does_not_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    with fleet(monkeypatch, lambda place: ANSWER) as (made, _, notes):
        made._wanted = Wanted(threads=3)
        with pytest.raises(InvalidInput, match=r"--device auto and --threads 3; it has a \(2 CPUs"):
            made.join()
        assert notes[0] == "node a has 2 CPUs, fewer than --threads 3; it does not measure"


def test_a_node_with_another_version_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with fleet(monkeypatch, lambda place: ANSWER) as (made, ray, notes):
        wrong = {"b": "node b has gdn-ops 0.0.9"}
        monkeypatch.setattr("gdn_ops.tuner.cluster.fleet.mismatches", lambda ray, nodes: wrong)
        with pytest.raises(InvalidInput, match=r"node b has gdn-ops 0\.0\.9; install gdn-ops"):
            made.join()
        # a node that joins later is left out, and the others go on
        ray.alive["c"] = node("c", cpus=2, gpus=1)
        monkeypatch.setattr(
            "gdn_ops.tuner.cluster.fleet.mismatches",
            lambda ray, nodes: {each.id: f"node {each.name} has no gdn-ops" for each in nodes},
        )
        assert made.join() == []
        assert notes == ["node c has no gdn-ops; it is left out"]
