"""``--json``: every command prints one document on standard output, errors too."""

from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.cli.application import app
from gdn_ops.tuner.report.json_document import document
from gdn_ops.tuner.workers.harness import Measured
from tests.json_documents import documented
from tests.problems import FORWARD
from tests.results import Bench


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["explain", "--backward", "--target", "h200"], "not_chosen"),
        (["explain", "tiny"], "rows"),
        (["verify", "tiny", "--device", "cpu"], "choices"),
        (["doctor"], "facts"),
        (["render", "torch"], "sources"),
        (["render", "split", "--axes"], "axes"),
    ],
)
def test_a_document_is_all_there_is_on_standard_output(
    arguments: list[str], field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run([*arguments, "--json"])
    out, told = capsys.readouterr()
    found = documented(out)
    assert (found["command"], found["exit_code"]) == (arguments[0], code)
    assert found[field] and told, "people still read the rest on standard error"


def test_winners_are_merged_shown_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "r.db")
    bench.win(median=2e-3, variant=Variant.default("torch", FORWARD))
    source, into, out = str(bench.close()), str(tmp_path / "all.db"), str(tmp_path / "out")
    assert run(["merge", source, "--into", into, "--json"]) == 0
    merged = documented(capsys.readouterr().out)
    assert merged["added_rows"]["winner_rows"] == 1 and not merged["refused_rows"]
    assert [verdict["outcome"] for verdict in merged["verdicts"]] == ["taken"]
    assert run(["show", "--db", into, "--json"]) == 0
    (winner,) = documented(capsys.readouterr().out)["winners"]
    assert (winner["median_seconds"], winner["speedup"]) == (2e-3, pytest.approx(3.0))
    assert run(["export", "winners", "--db", str(shipped_database()), "-o", out, "--json"]) == 0
    written = documented(capsys.readouterr().out)
    assert all(Path(file["path"]).stat().st_size == file["bytes"] for file in written["files"])
    assert run(["export", "verify", out, "--json"]) == 0
    assert [e["faults"] for e in documented(capsys.readouterr().out)["exports"]] == [[]]


def test_bench_gives_times_and_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    time = SimpleNamespace(median=2e-3, low=1e-3, high=3e-3)

    def measure(_: object, problem: Problem, variants: list[object], **__: object) -> Measured:
        if problem.op == "decode":
            return Measured(status="crash", message="why")
        (variant,) = variants
        return Measured(status="ok", timings={variant.id: time}, reference=time)  # type: ignore[attr-defined, dict-item, arg-type]

    monkeypatch.setattr("gdn_ops.tuner.workers.harness.WorkerHarness.measure", measure)
    assert run(["bench", "tiny", "--device", "cpu", "--json"]) == 1
    found = documented(capsys.readouterr().out)
    (row,), (failure,) = found["rows"], found["failures"]
    assert (row["median_seconds"], row["high_seconds"], row["speedup"]) == (2e-3, 3e-3, 1.0)
    assert (failure["status"], failure["message"]) == ("crash", "why")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "--target", "h20O"], 2, "did you mean 'h20'"),
        (["show", "--db", "no/such.db"], 2, "there is no results database"),
        (["show", "--nonsense"], 2, "No such option"),
        (["check", "--floor", "x"], 2, "--floor"),
        (["bench", "--cost-model", "--db", "no/such.db"], 1, "no database has enough trials"),
    ],
)
def test_an_error_is_a_document_with_the_same_exit_code(
    arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    assert not capsys.readouterr().out
    assert run([*arguments, "--json"]) == code
    out, told = capsys.readouterr()
    found = documented(out)
    assert set(found) == {"schema_version", "exit_code", "error"} and found["exit_code"] == code
    assert says in found["error"]["message"] and says in told


def test_numbers_that_json_lacks_are_null_and_every_command_has_the_option() -> None:
    found = json.loads(document("show", 0, {"a": [nan, {"b": -inf}, 1.5], "path": Path("x")}))
    assert (found["a"], found["path"]) == ([None, {"b": None}, 1.5], "x")
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert all("--json" in [o for p in c.params for o in p.opts] for c in commands.values())
