"""The rows of a check, its notes, and what an update writes; nothing is compiled here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.errors import InvalidInput, ResultsError, UnknownName
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.states import FAILED, OK, SKIPPED, State
from gdn_ops.tuner.check.static.baseline import read_baseline, write_baseline
from gdn_ops.tuner.check.static.check import Work, check_static, update
from gdn_ops.tuner.check.static.compiling import UNREADABLE
from gdn_ops.tuner.check.static.shipping import PROBLEMS
from gdn_ops.tuner.workers.worker_pool import Job, JobResult
from tests.tuner.check.static.fake_pool import Answer, FakePool, failing, needing

DECODE = "decode/recurrent/recurrent"
WORK = Work(problems={"decode": PROBLEMS["decode"]})
Run = Callable[..., tuple[Outcome, FakePool]]


@pytest.fixture
def baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a baseline whose only kernel needs 100 instructions and 50 registers."""
    use(monkeypatch, FakePool(needing(registers=50)))
    outcome = update(["sm_90"], folder=tmp_path, work=WORK)
    assert {row.state for row in outcome.rows} == {State.NEW}
    return tmp_path / "sm_90.json"


@pytest.fixture
def check(baseline: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Checks against ``baseline`` where kernels compile to what is given."""

    def run(answer: Answer, *, triton: str = "3.7.1", **given: Any) -> tuple[Outcome, FakePool]:
        pool = FakePool(answer, triton)
        use(monkeypatch, pool)
        given = {"work": WORK, **given}
        return check_static(["sm_90"], folder=baseline.parent, **given), pool

    return run


def use(monkeypatch: pytest.MonkeyPatch, *pools: FakePool) -> None:
    """Let checks use these pools, one after the other."""
    waiting = list(pools)
    monkeypatch.setattr(Work, "pool", lambda self, env=None: waiting.pop(0))


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def row_of(outcome: Outcome, name: str = DECODE) -> CheckRow:
    (row,) = [row for row in outcome.rows if row.name == name]
    return row


def test_what_is_the_same_is_not_compiled(check: Run) -> None:
    outcome, pool = check(failing("crash", "not even tried"))
    assert not pool.jobs
    assert {row.state for row in outcome.rows} == {State.UNCHANGED}
    assert outcome.kind == "static"
    assert row_of(outcome).figures == {"instructions": 100, "registers": 50}
    assert row_of(outcome, "decode/recurrent").figures["launches"] == 1
    assert outcome.environment == {"triton": "3.7.1", "ptxas for sm_90": "12.8"}
    assert replace(outcome, strict=True).exit_code() == OK


def test_everything_is_compiled_if_asked(check: Run) -> None:
    outcome, pool = check(needing(registers=50), everything=True)
    assert len(pool.jobs) == 1
    assert row_of(outcome).state == State.UNCHANGED
    worse, _ = check(needing(registers=50, stack=16), everything=True)
    assert row_of(worse).state == State.REGRESSED
    assert row_of(worse).differences[0].cause == "unknown"
    assert worse.exit_code() == FAILED


def test_another_reader_proves_nothing(check: Run, baseline: Path) -> None:
    edit(baseline, lambda data: data.update(reader="another"))
    outcome, pool = check(needing(registers=50))
    assert len(pool.jobs) == 1
    assert row_of(outcome).state == State.UNCHANGED
    assert "the code that reads compiled kernels has changed" in outcome.notes[0]


@pytest.mark.parametrize("key", ["hash", "arguments"])
def test_other_source_is_a_change_of_the_template(check: Run, baseline: Path, key: str) -> None:
    edit(baseline, lambda data: data["kernels"][DECODE].update({key: "another"}))
    outcome, _ = check(needing(registers=50, stack=8))
    row = row_of(outcome)
    assert row.state == State.REGRESSED
    assert row.message == "stack 0 -> 8 bytes per thread, cause: template"
    assert row.file == "templates/triton/recurrent.py.jinja"
    same, _ = check(needing(registers=50))
    assert row_of(same).state == State.PASSED


def test_a_kernel_that_dies_or_hangs_costs_its_row(check: Run, baseline: Path) -> None:
    edit(baseline, lambda data: data["kernels"][DECODE].update(hash="another"))
    outcome, _ = check(failing("timeout", "killed after 300 seconds"))
    row = row_of(outcome)
    assert (row.state, row.message) == (State.CRASHED, "timeout: killed after 300 seconds")
    assert row_of(outcome, "decode/recurrent").state == State.UNCHANGED
    assert outcome.exit_code() == FAILED


def test_a_binary_that_cannot_be_read_is_not_compared(check: Run) -> None:
    def unreadable(job: Job) -> JobResult:
        payload = {UNREADABLE: "nvdisasm cannot read the kernel"}
        return JobResult(job=job, status="ok", payload=payload)

    outcome, _ = check(unreadable, everything=True)
    assert row_of(outcome).state == State.ENVIRONMENT
    assert "nvdisasm" in row_of(outcome).message
    assert outcome.exit_code() == OK
    assert replace(outcome, strict=True).exit_code() == SKIPPED


def test_a_baseline_of_another_compiler_is_skipped_or_compared(check: Run) -> None:
    outcome, pool = check(needing(registers=51), triton="3.9.0")
    assert not pool.jobs
    row = row_of(outcome)
    assert row.state == State.ENVIRONMENT
    assert "made with Triton 3.7.1 with ptxas 12.8, and this is Triton 3.9.0" in row.message
    assert replace(outcome, strict=True).exit_code() == SKIPPED

    outcome, pool = check(needing(registers=51), triton="3.9.0", any_compiler=True)
    row = row_of(outcome)
    assert len(pool.jobs) == 1
    assert row.state == State.PASSED
    assert [(d.figure, d.cause) for d in row.differences] == [("registers", "compiler")]
    assert row_of(outcome, "decode/recurrent").state == State.UNCHANGED


def test_configuration_and_compiler_are_told_apart_without_git(check: Run, baseline: Path) -> None:
    """The old source is today's template with the old configuration."""
    recorded = read_baseline(baseline, "sm_90")
    old = recorded.kernels[DECODE]
    assert "num_warps=1" in old.options
    options = old.options.replace("num_warps=1", "num_warps=2")
    kernels = {DECODE: replace(old, options=options)}
    write_baseline(replace(recorded, kernels=kernels), baseline)

    def answer(job: Job) -> JobResult:
        own = job.payload["source"]["options"]["num_warps"]
        # the configuration changes registers, the compiler shared memory, both instructions
        figures = {1: (60, 8, 103), 2: (50, 8, 101)}[own]
        payload = dict(zip(("registers", "shared", "instructions"), figures, strict=True))
        return needing(**payload)(job)

    outcome, pool = check(answer, triton="3.9.0", any_compiler=True)
    assert len(pool.jobs) == 2
    causes = {d.figure: d.cause for d in row_of(outcome).differences}
    assert causes == {
        "registers": "configuration",
        "shared": "compiler",
        "instructions": "configuration and compiler",
    }


def test_what_only_one_side_has(check: Run, baseline: Path) -> None:
    outcome, _ = check(needing(), work=Work(problems={"pool": PROBLEMS["pool"]}))
    states = {row.name: row.state for row in outcome.rows}
    assert states == {
        "pool/recurrent/pool_decode": State.NEW,
        "pool/recurrent": State.NEW,
        DECODE: State.REMOVED,
        "decode/recurrent": State.REMOVED,
    }
    removed = row_of(outcome)
    assert (removed.op, removed.dtype, removed.head) == ("decode", "bf16", None)
    assert removed.base is not None
    assert "num_warps" in removed.base
    assert outcome.exit_code() == OK


def test_a_default_that_is_refused_now_fails(check: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Variant, "reasons", lambda *_: ["a state needs 256 registers"])
    outcome, _ = check(needing())
    assert row_of(outcome).state == State.REMOVED
    row = row_of(outcome, "decode/recurrent")
    assert row.state == State.REGRESSED
    assert row.message == "its default no longer runs there: a state needs 256 registers"
    assert outcome.exit_code() == FAILED


def test_a_new_kernel_must_be_sound(check: Run) -> None:
    def racing(job: Job) -> JobResult:
        payload = {"figures": {"instructions": 100, "races": 1}, "reasons": ["b_h is overwritten"]}
        return JobResult(job=job, status="ok", payload=payload)

    outcome, _ = check(racing, work=Work(problems={"pool": PROBLEMS["pool"]}))
    row = row_of(outcome, "pool/recurrent/pool_decode")
    assert (row.state, row.message) == (State.REGRESSED, "b_h is overwritten")
    assert outcome.exit_code() == FAILED


def test_a_launch_or_a_byte_more(check: Run, baseline: Path) -> None:
    def fewer(data: dict[str, Any]) -> None:
        data["variants"]["decode/recurrent"]["figures"].update(launches=0, bytes=1)

    edit(baseline, fewer)
    outcome, _ = check(needing(registers=50))
    row = row_of(outcome, "decode/recurrent")
    assert row.state == State.REGRESSED
    assert [(d.figure, d.failing) for d in row.differences] == [("launches", True), ("bytes", True)]


def test_ctrl_c_keeps_what_was_compiled(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(problems={name: PROBLEMS[name] for name in ("decode", "pool")})

    def answer(job: Job) -> JobResult:
        if len(pool.jobs) > 1:
            raise KeyboardInterrupt
        return needing(registers=50)(job)

    pool = FakePool(answer)
    use(monkeypatch, pool)
    outcome = check_static(["sm_90"], folder=tmp_path, work=work, everything=True)
    assert outcome.interrupted
    assert [row.name for row in outcome.rows if row.file] == [DECODE]

    before = baseline.read_text()
    pool = FakePool(answer)
    use(monkeypatch, pool)
    outcome = update(["sm_90"], folder=tmp_path, work=work)
    assert outcome.interrupted
    assert "was not written" in outcome.notes[-1]
    assert baseline.read_text() == before


def test_an_update_writes_nothing_if_a_kernel_does_not_compile(
    baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = baseline.read_text()
    use(monkeypatch, FakePool(failing("compile-error", "no")))
    outcome = update(["sm_90"], folder=baseline.parent, work=WORK)
    assert row_of(outcome).state == State.CRASHED
    assert outcome.notes[-1] == f"{baseline} was not written, because {DECODE} did not compile"
    assert baseline.read_text() == before


def test_an_update_replaces_what_cannot_be_read(
    baseline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline.write_text("{")
    use(monkeypatch, FakePool(needing()))
    outcome = update(["sm_90"], folder=baseline.parent, work=WORK)
    assert "is not complete JSON" in outcome.notes[0]
    assert read_baseline(baseline, "sm_90").kernels[DECODE].figures == {"instructions": 100}


def test_other_tritons_are_compared_with_the_installed_one(
    baseline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "triton").mkdir(parents=True)
    (site / "triton" / "__init__.py").write_text("__version__ = '3.8.0'\n")
    file = str(site / "triton" / "__init__.py")
    installed = FakePool(failing("crash", "proven, not compiled"))
    other = FakePool(needing(registers=50, stack=8), "3.8.0", file)
    use(monkeypatch, installed, other)
    outcome = check_static(["sm_90"], folder=baseline.parent, work=WORK, tritons=[site])
    assert row_of(outcome).state == State.UNCHANGED
    row = row_of(outcome, f"{DECODE} (Triton 3.8.0)")
    assert row.state == State.REGRESSED
    assert (row.base, row.head) == ("Triton 3.7.1", "Triton 3.8.0")
    assert [(d.figure, d.cause) for d in row.differences] == [("stack", "compiler")]

    use(monkeypatch, installed, FakePool(needing(), "3.7.1", "/other/triton/__init__.py"))
    with pytest.raises(InvalidInput, match=r"imports Triton 3\.7\.1 from /other/triton, not"):
        check_static(["sm_90"], folder=baseline.parent, work=WORK, tritons=[site])

    use(monkeypatch, installed, FakePool(failing("crash", "signal"), "3.8.0", file))
    outcome = check_static(["sm_90"], folder=baseline.parent, work=WORK, tritons=[site])
    assert row_of(outcome, f"{DECODE} (Triton 3.8.0)").state == State.CRASHED


def test_bad_names_and_folders_are_refused_before_anything_is_compiled(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown architecture 'sm_89'; did you mean"):
        check_static(["sm_89"], folder=tmp_path)
    with pytest.raises(ResultsError, match="there is no baseline"):
        check_static(["sm_90"], folder=tmp_path, work=WORK)
    with pytest.raises(InvalidInput, match="no package `triton`"):
        check_static(["sm_90"], folder=tmp_path, tritons=[tmp_path])


def test_merged_kernels_are_compared_with_each_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two kernels of the baseline that are one today: a row for each."""
    work = Work(problems={name: PROBLEMS[name] for name in ("prefill", "training")})
    use(monkeypatch, FakePool(needing(registers=50)))
    update(["sm_90"], folder=tmp_path, work=work)
    path = tmp_path / "sm_90.json"
    shared, use_of = "prefill/split/gate_cumsum", "training/split"

    def split(data: dict[str, Mapping[str, Any]]) -> None:
        own = {**data["kernels"][shared], "hash": "another"}
        data["kernels"]["training/split/gate_cumsum"] = own  # type: ignore[index]
        data["variants"][use_of]["kernels"]["gate_cumsum"] = "training/split/gate_cumsum"

    edit(path, split)
    use(monkeypatch, FakePool(needing(registers=50, stack=4)))
    outcome = check_static(["sm_90"], folder=tmp_path, work=work)
    assert row_of(outcome, shared).state == State.UNCHANGED
    assert row_of(outcome, "training/split/gate_cumsum").state == State.PASSED
