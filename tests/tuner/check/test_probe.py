"""The probe on the code of this checkout: what it says, and that it runs what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdn_ops.tuner.check.facts import described, facts_of
from gdn_ops.tuner.check.probe import _of_side, disturbances
from gdn_ops.tuner.check.processes import Failure, Samples, SideError, SideProcess, running
from gdn_ops.tuner.check.sides import Side, opened
from gdn_ops.tuner.spaces.workloads import WORKLOADS, buckets
from tests.tuner.check.packages import package

ROOT = Path(__file__).parents[3]
PROBLEMS = [problem.facts() for problem in buckets(WORKLOADS["tiny"].problems)]


@pytest.fixture(scope="module")
def process() -> SideProcess:
    """A process on this checkout, with the shipped results database alone."""
    with opened(str(ROOT), "head") as side, running([side], threads=1) as (found,):
        yield found


def test_it_knows_the_winners_that_ship(process):
    facts = facts_of(process, device="cpu", threads=1)
    assert facts.device == "cpu" and facts.target.startswith("cpu-")
    assert facts.environment["threads"] == "1" and facts.environment["torch"]
    rows = described(process, facts.winners, device="cpu")
    assert [row.how for row in rows] == ["exact"] * len(rows)


def test_it_verifies_and_measures_what_it_describes(process):
    for row in described(process, PROBLEMS, device="cpu"):
        job = {
            "problem": dict(row.facts), "variant": row.variant, "device": "cpu", "threads": 1,
            "rounds": 3, "seconds": 0.01, "companions": 0, "interpret": False, "repeats": 2,
        }  # fmt: skip
        assert process.verify(job) is None
        taken = process.measure(job)
        assert isinstance(taken, Samples) and len(taken.seconds) >= 3
        assert taken.method == "cpu-eager" and taken.median > 0


def test_a_key_is_of_the_code_and_not_of_the_prose(process, tmp_path):
    """The same variant has another key once its template or the launcher changes."""
    from bench.check.planting import copy, plant

    before = {row.id: row.key for row in described(process, PROBLEMS, device="cpu")}
    tree = copy(ROOT, tmp_path / "tree")
    launcher = tree / "gdn_ops" / "launch" / "launcher.py"
    text = launcher.read_text()
    launcher.write_text(f"{text}\n# a remark\n")
    assert keys_of(tree) == before
    launcher.write_text(text + "\nMORE = 1\n")
    assert not keys_of(tree).items() & before.items()
    launcher.write_text(text)
    plant(tree, {})
    after = keys_of(tree)
    # plan torch runs the prefill by the planted template, the decode by another one
    assert {id for id in before if after[id] != before[id]} == {
        id for id in before if id.startswith("forward")
    }


def keys_of(tree: Path) -> dict[str | None, str]:
    with opened(str(tree), "head") as side, running([side], threads=1) as (process,):
        return {row.id: row.key for row in described(process, PROBLEMS, device="cpu")}


def test_a_problem_that_the_side_does_not_know(process):
    (row,) = described(process, [{**PROBLEMS[0], "op": "sideways"}], device="cpu")
    assert not row.runs and "sideways" in row.error


def test_a_variant_that_does_not_render_fails(process):
    job = {"problem": PROBLEMS[0], "variant": {"plan": "no-such-plan"}, "device": "cpu"}
    taken = process.measure({**job, "threads": 1, "rounds": 3, "seconds": 0.01, "companions": 0})
    assert isinstance(taken, Failure) and "no-such-plan" in taken.message


def test_the_other_side_does_not_make_a_gpu_a_shared_one():
    state = {"throttled": [], "processes": 2}
    assert disturbances(state, companions=1) == []
    (shared,) = disturbances({**state, "processes": 3}, companions=1)
    assert shared.startswith("shared GPU: 1 other")
    (throttled,) = disturbances({**state, "throttled": ["power cap"]}, companions=1)
    assert throttled == "throttled GPU: power cap"
    assert disturbances({"unknown": "no NVML"}, companions=1) == []


def test_a_package_that_cannot_be_imported(tmp_path):
    side = Side(role="head", label="a folder", folder=package(tmp_path, "import missing_module"))
    with running([side], threads=1) as (process,), pytest.raises(SideError) as error:
        facts_of(process, device="cpu", threads=1)
    assert "the head, a folder, cannot be used: " in str(error.value)
    assert "No module named 'missing_module'" in str(error.value)


def test_what_a_package_prints_is_no_answer(tmp_path):
    """Nor does an editable install add the modules that it does not have."""
    folder = package(tmp_path, "print('hello')")
    side = Side(role="base", label="a folder", folder=folder)
    with running([side], threads=1) as (process,), pytest.raises(SideError) as error:
        facts_of(process, device="cpu", threads=1)
    assert "No module named 'gdn_ops.codegen'" in str(error.value)
    (folder / "gdn_ops" / "codegen").mkdir()
    errors = (ROOT / "codegen" / "errors.py").read_text()
    (folder / "gdn_ops" / "codegen" / "errors.py").write_text(errors)
    with running([side], threads=1) as (process,), pytest.raises(SideError) as error:
        facts_of(process, device="cpu", threads=1)
    assert "No module named 'gdn_ops.dispatch'" in str(error.value)


def test_a_function_is_found_where_an_old_side_has_it():
    here = "gdn_ops.tuner.check.probe"
    assert _of_side("disturbances", here, "json") is disturbances
    assert _of_side("disturbances", "gdn_ops.not_there_yet", here) is disturbances
