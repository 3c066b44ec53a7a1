"""The guide on CI tells the truth: its commands, workflows, settings, states and figures."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from bench.check.cells import CELLS
from gdn_ops.codegen.errors import UnknownName
from gdn_ops.tuner.check.baseline_file import ENOUGH_RUNS, LEAST_NOISE, MAX_RUNS, NOISE_DEVIATIONS
from gdn_ops.tuner.check.contest import MAX_DROPPED, MAX_SPREAD
from gdn_ops.tuner.check.gate import FLOOR, LOOKS, THRESHOLD
from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.outputs import Outputs
from gdn_ops.tuner.check.percentage import percent_text
from gdn_ops.tuner.check.reports import FORMATS
from gdn_ops.tuner.check.reports.github import render as annotations
from gdn_ops.tuner.check.reports.junit import render as junit
from gdn_ops.tuner.check.settings import Exemption, RowSettings, Settings, StaticLimits
from gdn_ops.tuner.check.settings_file import NAME, read_settings
from gdn_ops.tuner.check.states import FAILED, OK, SKIPPED, USAGE, State, exit_code
from gdn_ops.tuner.check.static.rules import INSTRUCTIONS, RULES
from gdn_ops.tuner.cli.application import app
from gdn_ops.tuner.cli.check_exit import INTERRUPTED

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "ci.md").read_text()
BLOCKS = re.findall(r'^ *```(\w+)(?: title="([^"]+)")?\n(.*?)^ *```', PAGE, flags=re.M | re.S)
"""Language, title and text of every block; those of a list are indented."""
TOKENS = re.compile(r"secrets\.|github\.token")


def titled(title: str) -> str:
    (text,) = [text for _, found, text in BLOCKS if found == title]
    return text


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading, without backticks."""
    lines = PAGE.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split(" | ")])
    return rows


def github() -> dict[str, Any]:
    workflow: dict[Any, Any] = yaml.safe_load(titled(".github/workflows/throughput.yml"))
    # YAML 1.1 reads the key "on" as true
    return {"on": workflow.pop(True), **workflow}


def gitlab() -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(titled(".gitlab-ci.yml"))
    return workflow


def runs(job: Mapping[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def uses(job: Mapping[str, Any], action: str) -> list[dict[str, Any]]:
    """The settings of each step that uses an action."""
    steps = [s for s in job["steps"] if s.get("uses", "").startswith(f"{action}@")]
    return [step.get("with", {}) for step in steps]


def shell_lines() -> Iterator[str]:
    """Every line of the page that a shell runs; a line that goes on in the next one is joined."""
    texts = [text for language, _, text in BLOCKS if language in ("sh", "console")]
    texts += re.findall(r"`(gdn check [^`]+)`", PAGE)
    texts += [text for job in github()["jobs"].values() for text in runs(job)]
    texts += [line for job in gitlab().values() for line in job["script"]]
    for text in texts:
        for line in text.replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ").removeprefix(".venv/bin/")


def outcome(*states: State) -> Outcome:
    rows = [
        CheckRow(target="h200", op="decode", name=state.name, dtype="bf16", state=state)
        for state in states
    ]
    return Outcome(
        kind="measured", base="a", head="b", environment={}, rows=tuple(rows),
        started="2026-01-01T00:00:00+00:00", seconds=1.0,
    )  # fmt: skip


COMMANDS = sorted(
    {
        line.replace("$base", base)
        for line in shell_lines()
        if line.startswith("gdn check")
        for base in ("", "--base baseline.json")
    }
)


def test_commands_of_every_kind_are_found() -> None:
    text = "\n".join(COMMANDS)
    assert len(COMMANDS) > 12
    for part in ("--static --strict", "--update", "CI_MERGE_REQUEST", "--save baseline.json --db"):
        assert part in text


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_one_that_gdn_accepts(
    line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All that is checked before anything is compared; the comparison itself is left out."""
    module = importlib.import_module("gdn_ops.tuner.cli.check")
    kinds = []

    def static(*_: object, **__: object) -> Outcome:
        kinds.append("static")
        return outcome()

    def measured(*_: object, **__: object) -> tuple[Outcome, None]:
        kinds.append("measured")
        return outcome(), None

    monkeypatch.chdir(tmp_path)
    Path("prompts.json").write_text(titled("prompts.json"))
    monkeypatch.setattr(module, "check_static", static)
    monkeypatch.setattr(module, "_measured", measured)
    monkeypatch.setattr(Outputs, "write", lambda *_: ())
    command = typer.main.get_command(app).commands["check"]  # type: ignore[attr-defined]
    assert command.main(shlex.split(line)[2:], standalone_mode=False) == OK
    assert kinds == ["static" if "--static" in line else "measured"]


class Event(dict[str, Any]):
    """What a condition of a workflow can look at."""

    def __init__(self, name: str, *, head: str | None = None) -> None:
        super().__init__(
            {
                "github.event_name": name,
                "github.repository": "us/kernels",
                "github.event.pull_request.head.repo.full_name": head,
            }
        )

    def holds(self, condition: str) -> bool:
        """Evaluate a condition that has comparisons, ``&&``, ``||`` and ``!cancelled()``."""
        text = condition.removeprefix("${{").removesuffix("}}").replace("!cancelled()", "True")
        text = re.sub(r"github(?:\.\w+)+", lambda name: repr(self[name[0]]), text)
        text = text.replace("&&", "and").replace("||", "or")
        found = eval(text.strip(), {"__builtins__": {}})
        assert isinstance(found, bool)
        return found


FORK = Event("pull_request", head="stranger/kernels")
OWN = Event("pull_request", head="us/kernels")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (FORK, {"static"}),
        (OWN, {"static", "measured"}),
        (Event("schedule"), {"nightly", "trend"}),
        (Event("workflow_dispatch"), {"measured"}),
    ],
    ids=["fork", "own pull request", "night", "by hand"],
)
def test_the_jobs_of_an_event(event: Event, expected: set[str]) -> None:
    workflow = github()
    assert event["github.event_name"] in workflow["on"]
    assert {n for n, job in workflow["jobs"].items() if event.holds(job["if"])} == expected


def test_a_fork_gets_neither_the_gpu_nor_secrets_nor_a_token_that_writes() -> None:
    workflow = github()
    assert set(workflow["on"]) == {"pull_request", "schedule", "workflow_dispatch"}
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        if FORK.holds(job["if"]):
            assert job["runs-on"] == "ubuntu-latest", name
        if runs(job):
            # it runs code of the repository
            assert "permissions" not in job, name
            assert not TOKENS.search(yaml.safe_dump(job)), name
            (checkout,) = uses(job, "actions/checkout")
            assert checkout["persist-credentials"] is False, name
        # an expression in a script is replaced before the shell reads it, whoever wrote its value
        assert not any("${{" in text for text in runs(job)), name
    (writing,) = [job for job in workflow["jobs"].values() if "permissions" in job]
    assert writing["permissions"] == {"contents": "write"}
    assert not runs(writing)
    assert not FORK.holds(writing["if"])
    assert not OWN.holds(writing["if"])


def test_jobs_have_what_their_check_needs_and_report_it() -> None:
    for name, job in github()["jobs"].items():
        assert job["timeout-minutes"] > 0
        checks = [text for text in runs(job) if "gdn check" in text]
        if not checks:
            continue
        (check,) = checks
        (checkout,) = uses(job, "actions/checkout")
        (artifact,) = uses(job, "actions/upload-artifact")
        assert "--strict" in check
        assert "--report github" in check
        if "--static" not in check:
            assert checkout["fetch-depth"] == 0, name
            assert "--device cuda:0" in check
            assert "gpu" in job["runs-on"]
        written = re.findall(r"--report [\w-]+=(\S+)", check)
        assert written
        assert all(Path(file).match(artifact["path"]) for file in written), name
    jobs = github()["jobs"]
    (trend,) = uses(jobs["trend"], "benchmark-action/github-action-benchmark")
    (artifact,) = uses(jobs["nightly"], "actions/upload-artifact")
    (download,) = uses(jobs["trend"], "actions/download-artifact")
    assert jobs["trend"]["needs"] == "nightly"
    assert download["name"] == artifact["name"]
    assert trend["output-file-path"] == artifact["path"]


def test_the_gitlab_jobs_report_and_leave_forks_out() -> None:
    jobs = gitlab()
    for name, job in jobs.items():
        (check,) = [line for line in job["script"] if "gdn check" in line]
        assert f"--report junit={job['artifacts']['reports']['junit']}" in check, name
        assert job["artifacts"]["when"] == "always"
        (rule,) = job["rules"]
        assert '$CI_PIPELINE_SOURCE == "merge_request_event"' in rule["if"]
        if "--static" not in check:
            assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in rule["if"]
            assert job["tags"] == ["gpu"]
            assert job["variables"]["GIT_DEPTH"] == "0"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML is read from Python 3.11 on")
def test_the_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text(titled(NAME))
    reason = "exact gradients at the end of a sequence; a faster kernel is under way"
    assert read_settings(path) == Settings(
        threshold=THRESHOLD,
        floor=FLOOR,
        rows=(RowSettings(match="decode-*", target="h200", threshold=0.05, floor=0.01),),
        exemptions=(
            Exemption(
                match="backward-*-bf16", target="h200", reason=reason, expires=date(2027, 3, 31)
            ),
        ),
        static=StaticLimits(instructions=INSTRUCTIONS),
        file=str(path),
    )


@pytest.mark.parametrize(
    ("where", "settings"),
    [
        ("top", {"none such": 1}),
        ("[[row]]", {"row": [{"none such": 1}]}),
        ("[[exempt]]", {"exempt": [{"none such": 1}]}),
        ("[static]", {"static": {"none such": 1}}),
    ],
)
def test_the_table_of_settings_has_every_key(
    where: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "gdn-check.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(UnknownName) as refusal:
        read_settings(path)
    known = set(re.split(r"[,\s]+", str(refusal.value).partition("Known: ")[2].rstrip(". ")))
    told = {key for key, places, *_ in table("key") if where in places.split(", ")}
    assert told == known - {"row", "exempt", "static"}


def test_the_table_of_settings_has_the_defaults() -> None:
    defaults = {key: default.strip('"') for key, _, default, _ in table("key")}
    assert defaults == {
        "threshold": percent_text(THRESHOLD),
        "floor": percent_text(FLOOR),
        "instructions": percent_text(INSTRUCTIONS),
        "match": "required",
        "target": "*",
        "reason": "required",
        "expires": "required",
    }


def test_the_table_of_states_is_that_of_the_code() -> None:
    rows = {name: rest for name, *rest in table("state")}
    assert set(rows) == {state.value for state in State}
    for state in State:
        _, fails, shown, result = rows[state.value]
        strictly = exit_code([state], strict=True) != OK
        expected = "yes" if exit_code([state]) else "only with --strict" if strictly else "no"
        assert fails == expected, state
        line = annotations(outcome(state))
        assert line.startswith(f"::{shown} ") if shown != "-" else not line, state
        tag = re.search(r"<(failure|error|skipped)\b", junit(outcome(state)))
        assert result == (tag[1] if tag else "passed"), state


def test_the_exit_codes_are_those_of_the_code() -> None:
    found = {int(code) for code, _ in table("exit code")}
    assert found == {OK, FAILED, USAGE, SKIPPED, INTERRUPTED}


def test_the_table_of_figures_is_that_of_the_code() -> None:
    found = {}
    for names, change in table("figure"):
        for name in names.split(", "):
            found[name] = change.partition(" ")[2] if change.startswith("a") else change
    kind = "instructions of one kind"
    assert found.pop(kind).startswith("nothing")
    assert set(found) == set(RULES)
    for name, rule in RULES.items():
        change = {"more": "increase", "less": "decrease"}.get(rule.worse, "nothing")
        assert change in found[name], name
        assert ("setting" in found[name]) == bool(rule.within), name


def test_the_table_of_reports_is_that_of_the_code() -> None:
    found = dict(row[0].partition("=")[::2] for row in table("format"))
    assert found == {name: "FILE" if form.TO_FILE else "" for name, form in FORMATS.items()}


def test_the_rates_are_near_the_published_ones() -> None:
    noises = {"1 %": (0.01, False), "2 %": (0.02, False)}
    rows = table("noise between processes")
    assert len(rows) == 4
    for noise, floor, *cells in rows:
        level, outliers = noises.get(noise, (0.02, True))
        own = [
            cell
            for cell in CELLS
            if (cell.noise, cell.outliers, f"{100 * cell.floor:g} %") == (level, outliers, floor)
        ]
        for cell, text in zip(own, cells, strict=True):
            rates = [float(rate) for rate in text.split(" / ")]
            assert 99 <= sum(rates) <= 101
            published = (cell.published.regressed, cell.published.passed,
                         cell.published.inconclusive)  # fmt: skip
            for rate, other in zip(rates, published, strict=True):
                assert abs(rate - other) <= 3, (noise, floor, cell.true)


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    looks = [str(look.pairs) for look in LOOKS]
    assert sum(look.regressed for look in LOOKS) == pytest.approx(0.01)
    assert sum(look.passed for look in LOOKS) == pytest.approx(0.05)
    assert all(a < b for a, b in pairwise(look.pairs for look in LOOKS))
    text = " ".join(PAGE.split())
    for said in (
        f"after {', '.join(looks[:-1])} and {looks[-1]} pairs",
        f"the threshold, {100 * THRESHOLD:g} %",
        f"the floor, {100 * FLOOR:g} %",
        "The levels of the four looks add up to 0.01",
        "Its levels add up to 0.05",
        f"spread by more than {100 * MAX_SPREAD:g} %",
        f"At most {MAX_DROPPED} pairs",
        f"from {ENOUGH_RUNS} runs on",
        f"at least {100 * LEAST_NOISE:g} % each, so {100 * LEAST_NOISE * NOISE_DEVIATIONS:g} %",
        f"A file keeps {MAX_RUNS} runs",
    ):
        assert said in text, said
