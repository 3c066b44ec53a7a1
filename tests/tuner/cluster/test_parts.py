"""The parts of tuning on a cluster that need no cluster."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.targets import TARGETS
from gdn_ops.errors import InvalidInput
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.cluster import connection
from gdn_ops.tuner.cluster.actors import CompilingActor, MeasuringActor
from gdn_ops.tuner.cluster.board import Board, Taken
from gdn_ops.tuner.cluster.lines import Lines
from gdn_ops.tuner.cluster.member import Device, Work, introduced
from gdn_ops.tuner.cluster.node_facts import FILES, VERSION, node_facts
from gdn_ops.tuner.cluster.nodes import living_nodes, mismatch
from gdn_ops.tuner.cluster.relay import Relay
from gdn_ops.tuner.cluster.triton_cache import read_entry, write_entry
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.interruption import Interrupted, Interruption
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.spaces.workloads import prefill
from gdn_ops.tuner.workers import offline
from gdn_ops.tuner.workers.worker_pool import WorkerPool
from tests.tuner.cluster.fake_ray import FakeRay, node
from tests.tuner.search.recorded import ENVIRONMENT

PROBLEMS = [prefill(tokens=tokens) for tokens in (64, 128, 256)]
FAULTY = "tests.tuner.workers.faulty_worker"


def board(**more: object) -> Board:
    return Board(list(PROBLEMS), **more)  # type: ignore[arg-type]


def test_two_devices_share_the_time_of_three_problems() -> None:
    whole = Deadline.after(300)
    shared = board(whole=whole)
    first, second = shared.take(1, 2), shared.take(1, 2)
    assert first is not None and second is not None
    assert first.deadline.remaining == pytest.approx(200, abs=1)
    assert second.deadline.remaining == pytest.approx(200, abs=1)
    shared.done(first.problem)
    shared.done(second.problem)
    last = shared.take(1, 2)
    assert last is not None
    assert last.deadline == whole, "two devices could give it 600 s, and 300 s are left"
    assert (first.number, second.number, last.number, shared.total) == (1, 2, 3, 3)


def test_shares_divide_the_time() -> None:
    weights = (0.5, 0.25, 0.25)
    shares = {problem.id(): share for problem, share in zip(PROBLEMS, weights, strict=True)}
    shared = board(whole=Deadline.after(400), shares=shares)
    taken = [shared.take(1, 1) for _ in PROBLEMS]
    assert [round(t.deadline.remaining) for t in taken if t] == [200, 100, 100]


def test_a_problem_goes_on_where_it_was_begun() -> None:
    ids = [problem.id() for problem in PROBLEMS]
    shared = board(begun={ids[0]: {7}, ids[2]: {8}})
    order = [taken.problem for taken in (shared.take(8, 2), shared.take(8, 2)) if taken]
    assert order == [PROBLEMS[2], PROBLEMS[1]], "what nobody has begun comes next"
    assert shared.take(8, 2) == Taken(PROBLEMS[0], 3, NO_DEADLINE)
    assert shared.take(8, 2) is None


def test_a_problem_that_is_put_back_is_the_next() -> None:
    shared = board()
    first = shared.take(1, 1)
    assert first is not None
    shared.put_back(first.problem)
    assert shared.take(1, 1) == first


def test_a_compiled_kernel_moves_to_another_cache(tmp_path: Path) -> None:
    there, here = tmp_path / "there" / "ABC", tmp_path / "here"
    there.mkdir(parents=True)
    (there / "k.cubin").write_bytes(bytes(range(256)))
    paths = {"k.cubin": str(there / "k.cubin")}
    (there / "__grp__k.json").write_text(json.dumps({"child_paths": paths}))
    entry = read_entry(there)
    assert entry is not None
    assert write_entry(entry, here) and write_entry(entry, here)
    assert [path.name for path in here.iterdir()] == ["ABC"], "nothing temporary is left"
    assert (here / "ABC/k.cubin").read_bytes() == bytes(range(256))
    group = json.loads((here / "ABC/__grp__k.json").read_text())
    assert group == {"child_paths": {"k.cubin": str(here / "ABC/k.cubin")}}


def test_an_entry_cannot_leave_the_cache(tmp_path: Path) -> None:
    for name, file in (("../out", "a"), ("ABC", "../../out"), (".", "a"), ("/out", "a")):
        assert not write_entry((name, {file: b""}), tmp_path / "cache")
    assert list(tmp_path.rglob("*out*")) == []
    assert read_entry(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({}, None),
        ({VERSION: ""}, "node x has no gdn-ops"),
        ({VERSION: "0.0.9"}, "node x has gdn-ops 0.0.9"),
        ({FILES: "other"}, "node x has other files under the name of gdn-ops "),
    ],
)
def test_a_node_with_another_gdn_ops_is_named(facts: dict[str, str], says: str | None) -> None:
    ours = node_facts()
    why = mismatch("x", {**ours, **facts}, ours)
    assert why is None if says is None else why is not None and why.startswith(says)


def test_nodes_of_one_machine_have_different_names() -> None:
    twins = [replace(node(id), host="twin") for id in ("abcdef01", "12345678")]
    ray = FakeRay(lambda kind, place: None, [node("alone"), *twins, node("head", cpus=0)])
    names = [each.name for each in living_nodes(ray)]
    assert names == ["alone", "twin/abcdef", "twin/123456"], "and a head without CPUs has no work"


def test_each_line_says_where_it_is_from() -> None:
    out = io.StringIO()
    lines, place = Lines(out), ["a"]
    view = lines.view(lambda: place[0])
    view(Note(text="one"))
    place[0] = "b"
    view(Note(text="two"))
    lines.note("all")
    assert out.getvalue() == "[a] one\n[b] two\nall\n"


def test_devices_in_different_environments_are_told_apart() -> None:
    others = [ENVIRONMENT, ENVIRONMENT, replace(ENVIRONMENT, torch="3", threads=8)]
    a, b, c = (
        Device(node(name), name, None, TARGETS["h200"], environment)
        for name, environment in zip("abc", others, strict=True)
    )
    assert introduced([a, b]) == ["h200: 2 devices (a, b)"]
    assert introduced([a, c, b]) == [
        "h200: 3 devices in 2 environments, whose times are kept apart:",
        "  toy, torch 2, triton None, driver None, 1 thread: a, b",
        "  toy, torch 3, triton None, driver None, 8 threads: c",
    ]


def test_idle_is_what_is_not_busy() -> None:
    work = Work(places=2, busy=30.0, start=100.0)
    assert work.idle_share(120.0) == pytest.approx(0.25)
    work.ended = 115.0
    assert work.idle_share(999.0) == 0.0


def test_a_search_in_a_thread_sees_the_main_threads_interruption() -> None:
    main = Interruption()
    first, second = Relay(main), Relay(main)
    first.requested = True
    with pytest.raises(Interrupted), first.waiting():
        pass
    second.check()
    main.requested = True
    with pytest.raises(Interrupted):
        second.check()


def test_what_kills_the_child_process_leaves_the_actor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerPool.__init__, "__kwdefaults__", {
        **(WorkerPool.__init__.__kwdefaults__ or {}), "module": FAULTY,
    })  # fmt: skip
    actor = MeasuringActor("cpu", 1, 1)
    assert actor.run("abort", {}, 60)["status"] == "crash"
    hang = actor.run("hang", {"path": str(tmp_path / "pids")}, 1.0)
    assert hang["status"] == "timeout"
    answer = actor.run("echo", {"a": 1}, 60)
    assert answer["payload"]["a"] == 1


def test_what_was_compiled_leaves_with_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WorkerPool.__init__, "__kwdefaults__", {
        **(WorkerPool.__init__.__kwdefaults__ or {}), "module": FAULTY,
    })  # fmt: skip
    (tmp_path / "__grp__k.json").write_text('{"child_paths": {}}')
    actor = CompilingActor()
    answer, entry = actor.compile("echo", {offline.ENTRY: str(tmp_path)}, 60)
    assert answer["payload"][offline.ENTRY] is None
    assert entry is not None and entry[0] == tmp_path.name
    assert actor.compile("echo", {}, 60)[1] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--ray", "nowhere"], "--ray 'nowhere' is not an address; give auto, local, HOST:PORT"),
        (["--ray", "auto", "--device", "cuda:0"], "--device 'cuda:0' cannot be used with --ray"),
        (["--target", "h200"], "--target 'h200' chooses among nodes; give --ray too"),
    ],
)
def test_bad_options_are_refused(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["tune", "tiny", *arguments, "--db", str(tmp_path / "r.db")]) == 2
    assert says in " ".join(capsys.readouterr().err.split())


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    with (
        pytest.raises(InvalidInput, match=r"pip install 'gdn-ops\[ray\]'"),
        connection.connected("auto"),
    ):
        pass
