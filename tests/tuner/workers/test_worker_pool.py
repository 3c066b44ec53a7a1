"""Workers may crash, hang, print and run out of memory; the pool goes on and leaves nobody."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool

MODULE = "tests.tuner.workers.faulty_worker"
ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(1, module=MODULE) as pool:
        yield pool


def job(kind: str, timeout: float = 60.0, **payload: Any) -> Job:
    return Job(kind=kind, payload=payload, timeout=timeout)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def gone(pids: list[int]) -> bool:
    """Whether all of them end within a while."""
    for _ in range(300):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.1)
    return False


def still_works(pool: WorkerPool) -> bool:
    return pool.one(job("echo", x=1)).ok


def test_a_worker_serves_many_jobs(pool: WorkerPool) -> None:
    results = list(pool.run(job("echo", number=i) for i in range(5)))
    assert [r.payload and r.payload["number"] for r in results] == [0, 1, 2, 3, 4]
    assert len({r.payload and r.payload["pid"] for r in results}) == 1


def test_workers_share_the_jobs() -> None:
    with WorkerPool(2, module=MODULE) as pool:
        jobs = [Job(kind="echo", payload={"number": i}, tag=i) for i in range(8)]
        results = list(pool.run(jobs))
        assert {r.job.tag for r in results} == set(range(8))
        assert all(r.payload and r.payload["number"] == r.job.tag for r in results)
        assert len(pool.pids) == 2


def test_workers_start_when_they_are_needed() -> None:
    with WorkerPool(4, module=MODULE) as pool:
        assert pool.pids == []
        pool.one(job("echo"))
        assert len(pool.pids) == 1


def test_a_search_may_need_a_result_for_its_next_job(pool: WorkerPool) -> None:
    seen: list[JobResult] = []

    def search() -> Iterator[Job]:
        for step in range(3):
            assert len(seen) == step
            yield job("echo", step=step)

    for result in pool.run(search()):
        seen.append(result)
    assert len(seen) == 3


def test_prints_do_not_corrupt_the_protocol(pool: WorkerPool) -> None:
    result = pool.one(job("chatter"))
    assert result.ok
    assert result.payload == {"read": ""}
    for words in ("a library prints", "so does C code", "and a child process"):
        assert words in result.stderr
    assert pool.one(job("echo")).stderr == ""


def test_an_exception_costs_one_job_and_the_child(pool: WorkerPool) -> None:
    """A GPU's illegal address outlives its exception, so the next job gets a fresh process."""
    before = pool.one(job("echo")).payload
    result = pool.one(job("raising"))
    assert (result.status, result.message) == ("error", "RuntimeError: no such luck")
    assert "in raising" in result.stderr
    after = pool.one(job("echo"))
    assert after.ok and after.payload != before


def test_an_unknown_kind_is_an_error(pool: WorkerPool) -> None:
    assert pool.one(job("dance")).message == "KeyError: 'dance'"


def test_out_of_memory_has_a_status_of_its_own(pool: WorkerPool) -> None:
    assert pool.one(job("memory")).status == "oom"


@pytest.mark.parametrize("error", ["InvalidConfig", "LaunchError"])
def test_a_refusal_is_invalid(pool: WorkerPool, error: str) -> None:
    result = pool.one(job("refused", error=error))
    assert (result.status, result.message) == ("invalid", "no")


@pytest.mark.parametrize("error", ["plain", "CompileError", "LaunchError", "assembler"])
def test_a_full_disk_is_a_fault_of_the_environment(pool: WorkerPool, error: str) -> None:
    assert pool.one(job("no_room", error=error)).status == "fault"
    assert still_works(pool)


def test_a_kill_from_outside_is_a_fault_of_the_environment(pool: WorkerPool) -> None:
    result = pool.one(job("killed"))
    assert result.status == "fault"
    assert "when memory runs out" in result.message
    assert still_works(pool)


@linux
def test_a_kill_because_memory_ran_out_is_the_jobs_own(
    pool: WorkerPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each run would try the config again, until Linux kills something else."""
    counters = tmp_path / "vmstat"
    counters.write_text("pgfault 8\noom_kill 1\n")
    monkeypatch.setattr("gdn_ops.workers.slot.VMSTAT", counters)
    result = pool.one(job("killed", path=str(counters), text="oom_kill 2\n"))
    assert (result.status, "memory ran out" in result.message) == ("oom", True)
    assert pool.one(job("killed")).status == "fault", "nothing was counted meanwhile"


def test_jobs_end_when_the_time_for_all_is_over(pool: WorkerPool) -> None:
    """That says nothing about a job, so that it is tried again in the next run."""
    assert still_works(pool)
    soon = time.monotonic() + 0.3
    jobs = [replace(job("sleep"), until=soon), replace(job("echo"), until=soon), job("echo")]
    under_way, late, other = pool.run(jobs)
    assert (under_way.status, "time for all is over" in under_way.message) == ("fault", True)
    assert (late.status, "not started" in late.message) == ("fault", True)
    assert other.ok


def test_a_hang_at_the_end_is_the_jobs_own(
    pool: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends by our kill, which must not pass for that of a system short of memory."""
    monkeypatch.setattr("gdn_ops.workers.worker_process.EXIT_SECONDS", 0.2)
    result = pool.one(job("linger"))
    assert (result.status, "a hang at its exit" in result.message) == ("crash", True)
    assert still_works(pool)


@pytest.mark.parametrize(
    ("kind", "death"), [("abort", "SIGABRT"), ("segfault", "SIGSEGV"), ("leave", "exit code 3")]
)
def test_a_death_costs_one_job(pool: WorkerPool, kind: str, death: str) -> None:
    result = pool.one(job(kind))
    assert result.status == "crash"
    assert death in result.message
    assert still_works(pool)


def test_last_words_are_kept(pool: WorkerPool) -> None:
    result = pool.one(job("abort"))
    assert result.message == "the worker died of SIGABRT: LLVM ERROR: cannot select"


def test_the_other_jobs_survive_a_death() -> None:
    with WorkerPool(2, module=MODULE) as pool:
        kinds = ["echo", "abort", "echo", "segfault", "echo", "abort", "echo"]
        statuses = [r.status for r in pool.run([job(kind) for kind in kinds])]
        assert sorted(statuses) == ["crash"] * 3 + ["ok"] * 4


@linux
def test_a_hang_is_killed_with_all_it_started(pool: WorkerPool, tmp_path: Path) -> None:
    assert still_works(pool)
    path = tmp_path / "pids"
    result = pool.one(job("hang", timeout=5.0, path=str(path)))
    assert result.status == "timeout"
    assert "5 seconds" in result.message
    assert gone([int(pid) for pid in path.read_text().split()])
    assert still_works(pool)


@linux
def test_a_worker_that_was_stopped_is_killed_when_its_time_is_over(pool: WorkerPool) -> None:
    assert still_works(pool)
    (pid,) = pool.pids
    assert pool.one(job("stopped", timeout=0.5)).status == "timeout"
    assert gone([pid])
    assert still_works(pool)


def test_a_worker_that_died_idle_is_replaced(pool: WorkerPool) -> None:
    assert still_works(pool)
    (pid,) = pool.pids
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert still_works(pool)
    assert pool.pids != [pid]


@linux
@pytest.mark.parametrize("end", ["hang", "abort", "return"])
def test_what_left_the_group_of_a_worker_ends_with_it(end: str, tmp_path: Path) -> None:
    """Also what holds the stream of the answers: an abort is no timeout then."""
    path = tmp_path / "pid"
    with WorkerPool(1, module=MODULE) as pool:
        timeout = 2.0 if end == "hang" else 60.0
        result = pool.one(job("escape", timeout=timeout, path=str(path), end=end))
        expected = {"hang": "timeout", "abort": "crash", "return": "ok"}[end]
        assert result.status == expected
        if end == "return":
            pool.close()
        assert gone([int(path.read_text())])


@linux
def test_jobs_under_way_end_with_the_iterator(tmp_path: Path) -> None:
    with WorkerPool(2, module=MODULE) as pool:
        results = pool.run([job("hang", path=str(tmp_path / "pids")), job("echo")])
        assert next(results).ok
        with pytest.raises(RuntimeError, match="running other jobs"):
            pool.one(job("echo"))
        pids = pool.pids
        results.close()
        assert gone([pids[0]])
        assert still_works(pool)


@linux
def test_an_interrupt_leaves_no_worker() -> None:
    with pytest.raises(KeyboardInterrupt), WorkerPool(2, module=MODULE) as pool:
        list(pool.run([job("echo"), job("echo")]))
        pids = pool.pids
        raise KeyboardInterrupt
    assert pids
    assert gone(pids)


@linux
def test_a_killed_parent_leaves_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "pids"
    script = f"""
        from gdn_ops.tuner.workers.worker_pool import Job, WorkerPool
        with WorkerPool(1, module={MODULE!r}) as pool:
            pool.one(Job(kind="hang", payload={{"path": {str(path)!r}}}, timeout=600))
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT)
    while not path.exists():
        assert parent.poll() is None
        time.sleep(0.1)
    worker, child = map(int, path.read_text().split())
    try:
        parent.kill()
        parent.wait()
        assert gone([worker, child])
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def test_the_environment_is_the_pools() -> None:
    names = ["TRITON_INTERPRET", "OMP_NUM_THREADS", "TRITON_CACHE_DIR", "COLOUR"]
    assert os.environ["TRITON_INTERPRET"] == "1"
    with WorkerPool(1, module=MODULE, cache=Path("/c"), env={"COLOUR": "red"}) as pool:
        seen = pool.one(job("variables", names=names)).payload
        assert seen and seen["TRITON_INTERPRET"] is None
        assert seen["TRITON_CACHE_DIR"] == "/c/worker-0"
        assert seen["COLOUR"] == "red"
    with WorkerPool(1, module=MODULE, interpret=True, threads=3) as pool:
        seen = pool.one(job("variables", names=names)).payload
        assert seen and (seen["TRITON_INTERPRET"], seen["OMP_NUM_THREADS"]) == ("1", "3")


def test_a_job_that_forks_has_one_answer(pool: WorkerPool) -> None:
    for _ in range(2):
        result = pool.one(Job(kind="fork", payload={}))
        assert result.payload is not None
        assert result.payload["pid"] == result.payload["parent"]
    time.sleep(0.4)  # the copies would have answered by now
    assert pool.one(Job(kind="echo", payload={"x": 1})).payload["x"] == 1  # type: ignore[index]


def test_what_is_no_answer_costs_one_job(pool: WorkerPool) -> None:
    result = pool.one(Job(kind="garble", payload={}))
    assert result.status == "crash" and "its answer cannot be read" in result.message
    assert pool.one(Job(kind="echo", payload={})).ok


def test_a_process_with_many_open_files_can_have_workers() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("a process may not open as many files here")
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            stack.enter_context(open(os.devnull))
        with WorkerPool(1, module=MODULE) as late:
            assert still_works(late)
