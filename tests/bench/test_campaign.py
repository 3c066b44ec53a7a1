"""A GPU's campaign: its stages, how it goes on, what it tunes, and what it reports."""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.campaign import __main__ as command
from bench.campaign.aims import AIMS, reached
from bench.campaign.problems import problems_of
from bench.campaign.profile import ncu, worst
from bench.campaign.report import main as report
from bench.campaign.spaces import write_spaces
from bench.campaign.stage import Command, Stage, run
from bench.campaign.stages import Campaign, stages_of
from bench.campaign.tuning import main as check_finals
from bench.campaign.tuning import tuned_problems
from bench.compare.cases import GRIDS
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.search.problem_tuning import tune_problem
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.search.trial_runner import TrialRunner
from tests.tuner.search.recorded import PROBLEM, RecordedHarness, bench, toy_plans


def python(code: str, **more: Any) -> Command:
    return Command(argv=[sys.executable, "-c", code], **more)


def stage(*commands: Command, name: str = "one", refused: str = "") -> Stage:
    return Stage(
        name=name, doc="a test", share=1.0, least=0.0,
        commands=lambda seconds: commands, refuses=lambda: refused,
    )  # fmt: skip


def test_a_stage_ends_as_its_commands_do(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(stage(python("print('hello')")), 30.0, log).status == "done"
    assert log.read_text() == "hello\n"
    assert run(stage(python("import bench"), python("1 / 0")), 30.0, log).status == "failed"
    assert run(stage(python("1 / 0", needed=False)), 30.0, log).status == "done"
    after = python("print('not reached')")
    assert run(stage(python("raise SystemExit(3)"), after), 30.0, log).status == "unfinished"
    assert "not reached" not in log.read_text()


def test_what_takes_too_long_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.campaign.stage.GRACE", 0.5)
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    ended = run(stage(python(parent)), 3.0, tmp_path / "log")
    assert ended.status == "unfinished" and ended.seconds < 30
    for _ in range(50):
        status = Path(f"/proc/{pid.read_text()}/stat")
        if not status.exists() or status.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    raise AssertionError("the child lives on")


def campaign(monkeypatch: pytest.MonkeyPatch, folder: Path, *stages: Stage) -> int:
    monkeypatch.setattr(command, "stages_of", lambda campaign: stages)
    monkeypatch.setattr("sys.argv", ["campaign", "1", str(folder), "tiny"])
    with pytest.raises(SystemExit) as caught:
        command.main()
    return int(str(caught.value.code))


def test_a_campaign_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    first = stage(python(count), name="first")
    second = stage(python("raise SystemExit(3)"), name="second")
    other = stage(name="other", refused="no GPU")
    assert campaign(monkeypatch, tmp_path / "out", first, second, other) == 1
    said = capsys.readouterr()
    assert "not finished: second; run the same command again" in said.out + said.err
    assert "other is skipped: no GPU" in said.out + said.err
    assert campaign(monkeypatch, tmp_path / "out", first, stage(name="second"), other) == 0
    assert "first: already done" in capsys.readouterr().out
    assert (tmp_path / "count").read_text() == "x"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["0", "out"], "minutes is 0.0; give a number > 0"),
        (["1", "out", "long"], "unknown grid long; known are forward"),
        (
            ["1", "out", "--stages", "tunes"],
            "--stages has the unknown stage tunes; known are machine",
        ),
        (["1", "out", "--device", "cuda:9"], "device 'cuda:9' is not in this machine"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["campaign", *arguments])
    with pytest.raises(SystemExit) as caught:
        command.main()
    assert caught.value.code == 2
    assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_every_stage_names_commands_that_exist(tmp_path: Path) -> None:
    for device in ("cpu", "cuda:0"):
        given = Campaign(folder=tmp_path, minutes=1.0, device=device, grids=["tiny", "decode"])
        for each in stages_of(given):
            for one in each.commands(10.0):
                if one.argv[0] == sys.executable:
                    module = one.argv[2]
                    assert module == "pytest" or __import__(module)
    assert sum(each.share for each in stages_of(given) if each.least < 30) > 1


def test_the_long_grid_is_tuned_for_every_geometry_of_heads() -> None:
    problems = problems_of(["forward"])
    assert len(problems) == 36
    assert len({(p.H, p.HV) for p in problems}) == 9
    assert (problems[0].H, problems[0].HV) == (16, 32)
    assert len(problems_of(["short", "short"])) == len(problems_of(["short"]))


def test_problems_with_and_without_finals_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.db"
    other = PROBLEM.__class__.from_facts({**PROBLEM.facts(), "tokens": 128})
    with toy_plans("pair", "single"), bench(path, RecordedHarness()) as b:
        tune_problem(
            TrialRunner(b.context, PROBLEM), options=Options(trials=9), deadline=NO_DEADLINE
        )
        tune_problem(TrialRunner(b.context, other), options=Options(), deadline=Deadline.after(0))
    first, second = tuned_problems(path)
    assert first.problem_id == PROBLEM.id() and first.final and not second.final
    assert first.trials >= first.right > 10 and first.found is not None
    assert 0 < first.found[0] <= first.trials and 0 <= first.found[1] <= first.seconds
    workload = tmp_path / "w.json"
    workload.write_text(json.dumps([dict(PROBLEM.facts()), dict(other.facts())]))
    monkeypatch.setattr("sys.argv", ["tuning", str(path), str(workload)])
    with pytest.raises(SystemExit) as caught:
        check_finals()
    assert caught.value.code == 3
    assert f"the finals of {other.id()} have not run yet" in capsys.readouterr().out


def test_every_trial_is_in_the_recorded_spaces(tmp_path: Path) -> None:
    path = tmp_path / "r.db"
    with toy_plans("pair", "single"), bench(path, RecordedHarness()) as b:
        tune_problem(
            TrialRunner(b.context, PROBLEM), options=Options(trials=9), deadline=NO_DEADLINE
        )
        trials = b.store.trials()
    count = write_spaces(path, tmp_path / "spaces")
    files = list((tmp_path / "spaces").iterdir())
    assert len(files) == count
    found = [json.loads(gzip.decompress(file.read_bytes())) for file in files]
    assert sum(len(space["results"]) for space in found) == len(trials)
    for space in found:
        axes = [sorted(result["configuration"]) for result in space["results"]]
        assert all(each == axes[0] for each in axes), "one space has one set of axes"
        for result in space["results"]:
            assert result["invalidity"] == "correct" and result["correctness"] == 1
            assert result["measurements"][0]["value"] > 0 and result["times"]["runtimes"]


def answer(**medians: float) -> dict[str, Any]:
    """Graph medians in seconds by contender; eager ones are 20 us longer."""
    return {
        "contenders": {
            name: {
                "times": {"cuda-graph": {"median": m}, "cuda-eager": {"median": m + 20e-6}},
                "errors": {},
            }
            for name, m in medians.items()
        }
    }


def test_aims_are_figured_out_of_the_rows() -> None:
    forward = list(GRIDS["forward"]())[:2]
    decode = [case for case in GRIDS["decode"]() if case.tokens == 64][:1]
    moved = 2 * 4 * 64 * decode[0].HV * 128**2
    rows = {
        "forward": list(
            zip(
                forward,
                [answer(ours=1.0, FLA=2.0, FlashQLA=0.5), answer(ours=1.0, FLA=8.0, FlashQLA=2.0)],
                strict=True,
            )
        ),
        "decode": [(decode[0], answer(ours=moved / 2e12))],
    }
    figures = {aim.what: reached(aim, rows, {"copy": 4e12}) for aim in AIMS}
    assert figures["forward against FLA"] == pytest.approx(4.0)
    assert figures["forward against the best peer of each row"] == pytest.approx(1.0)
    assert figures["decode, B HV >= 128, of the copy's bandwidth"] == pytest.approx(0.5)
    assert figures["host time of an eager forward beyond the GPU's"] == pytest.approx(20.0)
    assert figures["backward against FLA"] is None
    met = {aim.what: aim.met(figures[aim.what] or 0.0) for aim in AIMS}
    assert met["forward against FLA"] and met["host time of an eager forward beyond the GPU's"]
    assert not met["decode, B HV >= 128, of the copy's bandwidth"]


def test_the_worst_case_of_all_grids_is_profiled(tmp_path: Path) -> None:
    for grid, medians in (
        ("short", [(1.0, 2.0), (1.0, 0.7)]),
        ("decode", [(1.0, 0.9)]),
    ):
        rows = [answer(ours=mine, FLA=theirs) for mine, theirs in medians]
        (tmp_path / f"h200-{grid}.json").write_text(json.dumps({"rows": rows}))
    found = worst(tmp_path)
    assert found is not None
    ratio, grid, number, case = found
    assert (ratio, grid, number) == (0.7, "short", 1)
    assert case == list(GRIDS["short"]())[1]
    argv = ncu(tmp_path / "log")
    assert argv[:3] == ["ncu", "--clock-control", "none"], "the clocks stay as they are"
    assert "bwd_total" not in argv[4].removeprefix("regex:^(").removesuffix(")$").split("|")


def test_a_report_says_what_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {"device": "a GPU", "target": "h200", "copy": 4.2e12, "bf16": 7e14, "fp16": 7e14,
             "fp32": 5e13}  # fmt: skip
    (tmp_path / "ceilings.json").write_text(json.dumps(rates))
    monkeypatch.setattr("sys.argv", ["report", str(tmp_path)])
    report()
    text = (tmp_path / "report.md").read_text()
    assert text.strip() == capsys.readouterr().out.strip()
    assert "a GPU (h200) reaches copy 4200 GB/s, bf16 700 TFLOP/s" in text
    assert "| forward against FLA | 2.50x | not measured |" in text
