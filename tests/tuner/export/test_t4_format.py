"""Format t4: every searched space and its trials, valid against the schema."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.export.constraints import EXAMINED, constraints
from gdn_ops.tuner.export.description import LeftOut
from gdn_ops.tuner.export.formats import t4
from gdn_ops.tuner.export.searched import searched
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.spaces.space import Space, plan_key, plans_for
from gdn_ops.tuner.spaces.workloads import decode, prefill
from gdn_ops.tuner.store.merge_files import merge_files
from gdn_ops.tuner.store.models import TRIAL_STATUSES
from gdn_ops.tuner.store.records import Outcome, TrialKey
from tests.results import ENVIRONMENT, HANG, OK, Bench
from tests.tuner.export.t4_schema import T4

H200 = TARGETS["h200"]
DECODE, PREFILL = decode(sequences=32).bucket(), prefill(tokens=4096).bucket()
RECURRENT, SPLIT = Variant.default("recurrent", DECODE), Variant.default("split", PREFILL)


def _space(problem: Problem, plan: str, stage: str) -> Space:
    (first, *_) = plans_for(problem, H200, [plan])[plan]
    return next(space for space in first if space.stage == stage)


def _bench(path: Path, **environment: Any) -> Bench:
    """A database whose winners are predicted: they need no trials."""
    bench = Bench(path, replace(ENVIRONMENT, **environment))
    bench.win(DECODE, variant=RECURRENT, predicted=True)
    bench.win(PREFILL, variant=SPLIT, predicted=True)
    return bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = _bench(tmp_path / "r.db")
    spaces = (_space(DECODE, "recurrent", "recurrent"), _space(PREFILL, "split", "chunk_h"))
    for space in spaces:
        bench.record(space.key(space.configs[0]))
        bench.record(space.key(space.configs[1]), HANG)
    bench.record(plan_key(PREFILL, H200, SPLIT))
    return bench


def _exported(*paths: Path) -> dict[str, Any]:
    """The content of the exported files by plan and stage."""
    files = t4.exported(described(paths))
    del files["t4.manifest.json"]
    found = {}
    for name, data in files.items():
        content = json.loads(data)
        T4.validate(content)
        found[" ".join(name.split(",")[2:4])] = content
    return found


def _results(content: Mapping[str, Any], **wanted: Any) -> list[Any]:
    return [r for r in content["results"] if all(r[k] == x for k, x in wanted.items())]


def test_each_space_has_its_parameters_and_trials(bench: Bench) -> None:
    found = _exported(bench.close())
    assert set(found) == {"recurrent recurrent", "split chunk_h", "split whole"}
    space = _space(PREFILL, "split", "chunk_h")
    content = found["split chunk_h"]
    parameters = {
        p["Name"]: json.loads(p["Values"])
        for p in content["metadata"]["ConfigurationSpace"]["TuningParameters"]
    }
    assert parameters == {
        **{name: [value] for name, value in space.shared.items()},
        **{axis.name: list(axis.values) for axis in space.axes},
    }
    for result in content["results"]:
        assert result["configuration"].keys() == parameters.keys()
        assert all(x in parameters[name] for name, x in result["configuration"].items())
    (first, second) = (result["configuration"] for result in content["results"])
    assert first == {**space.shared, **space.configs[0]}
    assert second == {**space.shared, **space.configs[1]}


def test_a_result_has_times_in_milliseconds_errors_and_resources(bench: Bench) -> None:
    content = _exported(bench.close())["recurrent recurrent"]
    assert (content["schema_version"], content["metadata"]["timeunit"]) == ("1.0.0", "milliseconds")
    (ok,) = _results(content, invalidity="correct")
    assert ok["times"] == {"runtimes": pytest.approx([1.9, 2.0, 2.2])}
    assert (ok["correctness"], ok["objectives"], ok["method"]) == (1, ["time"], "cpu-eager")
    measured = {m["name"]: (m["value"], m["unit"]) for m in ok["measurements"]}
    assert measured == {
        "time": (pytest.approx(2.0), "ms"),
        "time.low": (pytest.approx(1.9), "ms"),
        "time.high": (pytest.approx(2.2), "ms"),
        "error.o": (1e-6, ""),
        "error.ht": ("nan", ""),
        "resource.registers": (96, ""),
    }
    (failed,) = _results(content, invalidity="timeout")
    assert failed["times"] == {"runtimes": []} and failed["correctness"] == 0
    assert failed["measurements"] == [{"name": "time", "value": "timeout", "unit": ""}]
    assert failed["message"] == "killed after 60 s"


def test_every_status_but_the_machines_faults_has_a_word(bench: Bench) -> None:
    space = _space(DECODE, "recurrent", "recurrent")
    for status in TRIAL_STATUSES:
        outcome = OK if status == "ok" else Outcome(status=status)
        bench.record(space.key(space.configs[2]), outcome)
    with pytest.warns(LeftOut, match="1 trial of .* on h200: the machine failed"):
        content = _exported(bench.close())["recurrent recurrent"]
    assert {result["status"] for result in content["results"]} == {*TRIAL_STATUSES} - {"fault"}
    (wrong,) = _results(content, status="wrong")
    assert (wrong["invalidity"], wrong["correctness"]) == ("correctness", 0)


def test_the_environment_and_the_hardware_are_those_of_the_trials(bench: Bench) -> None:
    metadata = _exported(bench.close())["recurrent recurrent"]["metadata"]
    assert metadata["hardware"]["hardware_description"][0]["device"] == "Test GPU"
    assert metadata["environment"]["device_query"]["driver"] == "590.1"
    assert {"torch==2.13.0", "triton==3.7.1"} <= set(metadata["environment"]["requirements"])
    assert (metadata["target"], metadata["problem"]) == ("h200", DECODE.id())
    assert metadata["licence"] == "Apache-2.0" and len(metadata["templates"]) == 64


def test_whole_variants_are_a_space_of_their_own(bench: Bench) -> None:
    content = _exported(bench.close())["split whole"]
    (result,) = content["results"]
    stages = {name: dict(config) for name, config in SPLIT.stages}
    expected = {f"{s}.{name}": x for s, config in stages.items() for name, x in config.items()}
    assert result["configuration"] == {**dict(SPLIT.interface), **expected}
    assert content["metadata"]["stage"] is None
    assert content["metadata"]["constraints"]["valid"] is None


def test_constraints_are_sentences_with_counts(bench: Bench) -> None:
    spaces = {s.space.stage: s for s in searched(described([bench.close()])[0]) if s.space}
    space = _space(PREFILL, "split", "chunk_h")
    found = constraints(spaces["chunk_h"])
    assert found["configs"] == found["examined"] and found["valid"] == len(space.configs)
    (reason,) = found["reasons"]
    assert "num_warps=" in reason["example"]
    assert reason["refused"] == found["examined"] - found["valid"]


def test_a_large_space_is_sampled_evenly(tmp_path: Path) -> None:
    bench = _bench(tmp_path / "r.db")
    space = _space(PREFILL, "split", "solve")
    bench.record(space.key(space.initial_config))
    (one,) = searched(described([bench.close()])[0])
    found = constraints(one)
    assert found["configs"] > found["examined"] == EXAMINED
    share, exact = found["valid"] / EXAMINED, len(space.configs) / found["configs"]
    assert share == pytest.approx(exact, rel=0.05)


def test_two_exports_have_the_same_bytes(bench: Bench) -> None:
    path = bench.close()
    files = t4.exported(described([path]))
    assert t4.exported(described([path])) == files


def test_a_trial_that_two_databases_have_is_taken_once(bench: Bench, tmp_path: Path) -> None:
    path = bench.close()
    merge_files([path], tmp_path / "merged.db")
    assert _exported(path, tmp_path / "merged.db") == _exported(path)


def test_environments_have_files_of_their_own(bench: Bench, tmp_path: Path) -> None:
    other = _bench(tmp_path / "other.db", driver="591.0")
    space = _space(DECODE, "recurrent", "recurrent")
    other.record(space.key(space.configs[0]))
    files = t4.exported(described([bench.close(), other.close()]))
    drivers = [
        json.loads(data)["metadata"]["environment"]["device_query"]["driver"]
        for name, data in files.items()
        if ",recurrent," in name
    ]
    assert sorted(drivers) == ["590.1", "591.0"]


def test_a_problem_without_a_winner_is_exported_if_no_others_are_asked_for(bench: Bench) -> None:
    problem = decode(sequences=64).bucket()
    bench.store.add_problem(problem.id(), problem.facts())
    space = _space(problem, "recurrent", "recurrent")
    bench.record(space.key(space.configs[0]), HANG)
    path = bench.close()
    assert any(problem.id() in name for name in t4.exported(described([path])))
    chosen = t4.exported(described([path], problems=[DECODE]))
    assert {name.split(",")[1] for name in chosen if "manifest" not in name} == {DECODE.id()}


def _foreign(key: TrialKey) -> list[TrialKey]:
    """Trials that are not of today's spaces, or never were of any."""
    return [
        replace(key, plan="../x"),
        replace(key, stage="rm"),
        replace(key, config={**key.config, "BV\x1b[2J": 1}),
        replace(key, config={**key.config, "num_warps": "4"}),
        replace(key, config={**key.config, "num_warps": 3}),
        replace(key, interface={}),
    ]


def test_trials_of_other_spaces_are_left_out_and_named(bench: Bench) -> None:
    space = _space(PREFILL, "split", "chunk_h")
    path = bench.path
    before = _exported(path)
    for key in _foreign(space.key(space.configs[0])):
        bench.record(key)
    with pytest.warns(LeftOut) as caught:
        after = _exported(bench.close())
    assert after == before
    said = " ".join(str(warning.message) for warning in caught)
    for why in ("unknown plan '../x'", "num_warps=3", "num_warps='4'", "axes of split are"):
        assert why in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE trials SET samples = '[1e999]'", "a sample is inf seconds; it must"),
        ("UPDATE trials SET samples = '[-1.0]'", "a sample is -1.0 seconds"),
        ("UPDATE trials SET samples = '[[1]]'", "not a list of numbers"),
        ("UPDATE trials SET config = '[]'", "config"),
        ("UPDATE trials SET created = 'x'", "not a moment"),
        ('UPDATE trials SET resources = \'{"x": 1' + "0" * 400 + "}'", "too large"),
        ('UPDATE trials SET errors = \'{"o": 1' + "0" * 400 + "}'", "too large"),
        ("UPDATE environments SET device = x'00'", "device of the environment"),
        ("UPDATE problems SET facts = json_set(facts, '$.H', 8)", "its facts are those of"),
        ("UPDATE problems SET facts = json_set(facts, '$.tokens', 'x')", "is left out"),
    ],
)
def test_hostile_rows_are_left_out_and_named(tmp_path: Path, change: str, says: str) -> None:
    """One database with nothing else, so nothing but the refusal is left."""
    bench = Bench(tmp_path / "r.db")
    bench.win(DECODE, variant=RECURRENT, predicted=True)
    bench.store.add_problem(PREFILL.id(), PREFILL.facts())
    space = _space(PREFILL, "split", "chunk_h")
    bench.record(space.key(space.configs[0]))
    path = bench.close()
    with closing(sqlite3.connect(path)) as connection:
        which = f" WHERE id = '{PREFILL.id()}'" if "problems" in change else ""
        connection.execute(change + which)
        connection.commit()
    descriptions = described([path])
    with (
        pytest.warns(LeftOut) as caught,
        pytest.raises(InvalidInput, match="no trials for h200, only winners; export from"),
    ):
        t4.exported(descriptions)
    assert says in " ".join(str(warning.message) for warning in caught)


def test_the_shipped_results_are_valid(recwarn: pytest.WarningsRecorder) -> None:
    files = t4.exported(described([shipped_database()]))
    trials = 0
    for name, data in files.items():
        if "manifest" not in name:
            T4.validate(json.loads(data))
            trials += len(json.loads(data)["results"])
    assert trials > 100
    assert all("axes of" in str(w.message) for w in recwarn if w.category is LeftOut)


def test_the_manifest_names_the_schema_and_the_proof(bench: Bench) -> None:
    manifest = json.loads(t4.exported(described([bench.close()]))["t4.manifest.json"])
    assert manifest["schema_version"] == "1.0.0" and "TuningSchema" in manifest["results"]
    assert [w["samples"] for w in manifest["targets"][0]["winners"]] == ["predicted"] * 2
