"""Tuning on a cluster of two nodes on this machine, one of which is lost."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cluster.connection import connected
from gdn_ops.tuner.cluster.lines import Lines
from gdn_ops.tuner.cluster.session import tune_on_cluster
from gdn_ops.tuner.search import finals
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.session import Request
from gdn_ops.tuner.spaces.workloads import problem_of, workload_named
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.store import Store

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
FACTS = {"H": 1, "HV": 2, "K": 16, "V": 16, "dtype": "fp32"}
PROBLEMS = [problem_of({**FACTS, "tokens": tokens}).bucket() for tokens in (32, 64)]
STORE = 100 << 20
"""Bytes of a node's object store; Ray's default is a share of the machine's memory."""
CLIENT_PORT = 21001
"""Port of the head's server for clients; Ray's default may be in use."""
TRIES = 3


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Triton cache of the head."""
    return tmp_path_factory.mktemp("triton")


@pytest.fixture(scope="module")
def cluster(cache: Path) -> Iterator[Any]:
    """A head with one CPU; each test that needs a second node adds one."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("TRITON_CACHE_DIR", str(cache))
        made = Cluster()
        add_node(made)
        patch.undo()
        yield made
        made.shutdown()


def add_node(cluster: Any, **more: Any) -> Any:
    """Add a node. Ray gives up after 30 seconds, which a busy machine may need: try again."""
    options = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False, **more}
    for _ in range(TRIES - 1):
        try:
            return cluster.add_node(**options)
        except Exception as error:
            if "timed out" not in str(error):
                raise
    return cluster.add_node(**options)


class Killer(io.StringIO):
    """Standard output that kills a node once the node has reported a line.

    Args:
        line: a pattern of the line; what follows it in the search is what the node is killed in.
    """

    def __init__(self, cluster: Any, node: Any, line: str) -> None:
        super().__init__()
        self._cluster, self._node = cluster, node
        self._line = re.compile(rf"\[[^]]*{node.node_id[:6]}\] .*{line}")
        self.reported: set[int] = set()
        self.before: set[int] = set()

    def write(self, text: str) -> int:
        self.reported |= {int(number) for number in re.findall(r"trial (\d+) recorded", text)}
        if self._node is not None and self._line.match(text):
            self.before = set(self.reported)
            self._cluster.remove_node(self._node, allow_graceful=False)
            self._node = None
        return super().write(text)


def test_a_node_that_is_killed_costs_only_what_it_ran(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies while it times the finals of one of two problems; its search is not repeated."""
    # finals of a second or more, so that the node is not done with them before it is killed
    monkeypatch.setattr(finals, "ROUNDS", 1000)
    monkeypatch.setattr(finals, "MAX_SECONDS", 2.0)
    monkeypatch.setattr(finals, "MOST_MEASUREMENTS", 1)
    doomed = add_node(cluster)
    out = Killer(cluster, doomed, "finals:")
    request = Request(
        workload="two", problems=PROBLEMS, database=tmp_path / "results.db", device="cpu",
        threads=1, options=Options(trials=1, plans=("torch",)),
    )  # fmt: skip
    tuned = tune_on_cluster(request, address=cluster.address, target=None, lines=Lines(out))
    text = out.getvalue()
    (result,) = tuned.results.values()
    assert not result.failures and not tuned.stranded and not tuned.interrupted, text
    assert {name: winner.variant_id for name, winner in result.winners.items()} == {
        problem.id(): Variant.default("torch", problem).id for problem in PROBLEMS
    }, "one trial each, so the default wins"
    survivor, lost = sorted(tuned.members, key=lambda member: doomed.node_id[:6] in member.label)
    assert (survivor.work.lost, lost.work.lost) == (0, 1)
    assert lost.work.jobs == 1 and survivor.work.jobs == 3, text
    with open_database(request.database, create=False, writable=False) as database:
        store = Store(database)
        assert {winner.problem_id for winner in store.winners()} == {p.id() for p in PROBLEMS}
        trials = store.trials()
        assert out.before <= out.reported == {trial.id for trial in trials}
        assert [trial.outcome.status for trial in trials] == ["ok"] * 4, "a search, and finals"
        (run,) = store.runs()
        assert run.status == "finished"


@pytest.mark.exhaustive
def test_the_nodes_run_what_they_were_checked_for(cluster: Any) -> None:
    """A node whose gdn-ops differs is found, by the files that it really has."""
    from gdn_ops.tuner.cluster import node_facts, nodes

    with connected(cluster.address) as ray:
        living = nodes.living_nodes(ray)
        assert nodes.mismatches(ray, living) == {}
        with pytest.MonkeyPatch.context() as patch:
            ours = node_facts.node_facts()
            patch.setattr(nodes, "node_facts", node_facts)
            patch.setattr(nodes, "mismatch", lambda name, facts, own: str(facts == ours))
            assert set(nodes.mismatches(ray, living).values()) == {"True"}


def command(database: Path, *options: str, workload: str = "tiny") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable, "-u", "-m", "gdn_ops.tuner.cli", "tune", workload, *options,
            "--db", str(database), "--device", "cpu", "--threads", "1",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.exhaustive
def test_a_killed_coordinator_is_started_again_and_goes_on(cluster: Any, tmp_path: Path) -> None:
    database = tmp_path / "results.db"
    first = command(database, "--ray", cluster.address, "--trials", "4")
    reported: set[int] = set()
    assert first.stdout is not None
    while len(reported) < 2 and (line := first.stdout.readline()):
        reported |= {int(number) for number in re.findall(r"trial (\d+) recorded", line)}
    first.send_signal(signal.SIGKILL)
    rest, _ = first.communicate()
    reported |= {int(number) for number in re.findall(r"trial (\d+) recorded", rest)}
    second = command(database, "--ray", cluster.address, "--trials", "4")
    out, _ = second.communicate(timeout=600)
    assert second.returncode == 0, out
    assert "known trial" in out
    with open_database(database, create=False, writable=False) as opened:
        store = Store(opened)
        assert reported <= {trial.id for trial in store.trials()}
        assert [run.status for run in store.runs()] == ["interrupted", "finished"]
        assert len(store.winners()) == len(workload_named("tiny").problems)


@pytest.mark.exhaustive
def test_an_interruption_on_a_cluster_keeps_a_winner(cluster: Any, tmp_path: Path) -> None:
    process = command(tmp_path / "results.db", "--ray", cluster.address)
    assert process.stdout is not None
    read = ""
    while "recorded" not in read and (line := process.stdout.readline()):
        read += line
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, read + out
    assert "the same command continues from here" in out


@pytest.mark.exhaustive
def test_tiny_on_two_nodes_one_of_which_dies_in_its_search(cluster: Any, tmp_path: Path) -> None:
    doomed = add_node(cluster)
    out = Killer(cluster, doomed, "trial \\d+ recorded: torch [a-zA-Z]")
    tiny = workload_named("tiny")
    request = Request(
        workload="tiny", problems=[p.bucket() for p in tiny.problems],
        database=tmp_path / "results.db", device="cpu", threads=1,
        options=Options(trials=tiny.trials),
    )  # fmt: skip
    tuned = tune_on_cluster(request, address=cluster.address, target=None, lines=Lines(out))
    (result,) = tuned.results.values()
    assert len(result.winners) == len(tiny.problems), out.getvalue()
    with open_database(request.database, create=False, writable=False) as database:
        store = Store(database)
        trials = store.trials()
        assert out.reported == {trial.id for trial in trials}
        assert {trial.outcome.status for trial in trials} == {"ok"}
        searched = [t.key.config_hash for t in trials if "finalists" not in t.outcome.resources]
        assert len(searched) == len(set(searched)), "no trial that had finished is run again"


@pytest.mark.exhaustive
def test_a_node_that_joins_a_session_is_taken_in(cluster: Any, tmp_path: Path) -> None:
    problems = [{**FACTS, "tokens": 16 << i} for i in range(4)]
    (tmp_path / "four.json").write_text(json.dumps(problems))
    process = command(
        tmp_path / "r.db", "--ray", cluster.address, "--trials", "1",
        workload=str(tmp_path / "four.json"),
    )  # fmt: skip
    read = ""
    assert process.stdout is not None
    while "recorded" not in read and (line := process.stdout.readline()):
        read += line
    node = add_node(cluster)
    try:
        out, _ = process.communicate(timeout=600)
    finally:
        cluster.remove_node(node)
    assert process.returncode == 0, read + out
    assert re.search(r"^\S+ joined$", out, re.MULTILINE), read + out
    assert len(re.findall("measures on", out)) == 2, out


@pytest.mark.exhaustive
def test_a_client_of_the_cluster_tunes_too(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    made = Cluster()
    try:
        add_node(made, ray_client_server_port=CLIENT_PORT)
        address = f"ray://127.0.0.1:{CLIENT_PORT}"
        process = command(tmp_path / "r.db", "--ray", address, "--trials", "1")
        out, _ = process.communicate(timeout=600)
        assert process.returncode == 0, out
    finally:
        made.shutdown()


@pytest.mark.exhaustive
def test_a_gpu_node_measures_what_a_cpu_node_compiles(
    cluster: Any, cache: Path, tmp_path: Path
) -> None:
    """On the stand-in GPU, whose node gets the kernels that the other node has compiled."""
    with pytest.MonkeyPatch.context() as patch:
        paths = os.pathsep.join([str(ROOT / "tests/stand_in/site"), str(ROOT)])
        for name, value in (
            ("PYTHONPATH", paths), ("GDN_STAND_IN", "interpret"), ("TRITON_INTERPRET", "0"),
            ("GDN_GPU_TESTS", "small"), ("TRITON_CACHE_DIR", str(tmp_path / "gpu")),
        ):  # fmt: skip
            patch.setenv(name, value)
        gpu = add_node(cluster, num_gpus=1, num_cpus=2)
    try:
        process = subprocess.run(
            [
                sys.executable, "-m", "gdn_ops.tuner.cli", "tune", "--H", "1", "--HV", "1",
                "--K", "16", "--dtype", "fp32", "--tokens", "16", "--plans", "recurrent",
                "--trials", "2", "--ray", cluster.address, "--db", str(tmp_path / "r.db"),
                "--target", "h200",
            ],
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip
    finally:
        cluster.remove_node(gpu)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "measures on h200" in process.stdout
    compiled = {path.name for path in cache.iterdir()}
    assert compiled and compiled <= {path.name for path in (tmp_path / "gpu").iterdir()}
    with open_database(tmp_path / "r.db", create=False, writable=False) as database:
        (winner,) = Store(database).winners()
        assert winner.target == "h200"
