"""Workloads: named, read from files, described on the command line; and bad ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from gdn_ops.codegen.errors import GdnError, InvalidInput, UnknownName
from gdn_ops.tuner.spaces.workloads import (
    WORKLOADS,
    buckets,
    problem_of,
    read_workload,
    workload_named,
)

GIVEN = {"H": 16, "HV": 32, "K": 128, "V": 128, "dtype": "bf16", "tokens": 4096}


def test_workloads_hold_each_bucket_once() -> None:
    for workload in WORKLOADS.values():
        assert len(buckets(workload.problems)) == len(workload.problems), workload.name


def test_quickstart_is_what_a_new_user_runs() -> None:
    problems = WORKLOADS["quickstart"].problems
    assert {(p.op, p.dtype, p.tokens) for p in problems} == {
        ("forward", dtype, tokens) for dtype in ("fp32", "bf16") for tokens in (512, 2048)
    } | {
        (op, dtype, tokens)
        for op, tokens in (("decode", 8), ("backward", 1024))
        for dtype in ("fp32", "bf16")
    }
    assert all((p.H, p.HV, p.K, p.V) == (16, 32, 128, 128) for p in problems)
    assert all(p.final_state == (p.op != "backward") for p in problems)
    assert all(p.initial_state == (p.op == "decode") for p in problems)
    assert WORKLOADS["quickstart"].minutes < 5


def test_an_unknown_workload_names_the_near_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'prefill'"):
        workload_named("prefil")


def test_what_is_left_out_is_a_prefill_of_one_sequence() -> None:
    problem = problem_of(GIVEN)
    assert (problem.op, problem.sequences, problem.rule.name) == ("forward", 1, "scalar-delta")
    decode = problem_of({**GIVEN, "op": "decode", "sequences": 8} | {"tokens": 8})
    assert decode == problem_of(
        {k: v for k, v in {**GIVEN, "op": "decode", "sequences": 8}.items() if k != "tokens"}
    )


def test_sizes_are_tuned_as_their_bucket() -> None:
    (bucket,) = buckets([problem_of({**GIVEN, "tokens": 3000}), problem_of(GIVEN)])
    assert bucket.tokens == 4096


@pytest.mark.parametrize("suffix", [".json", ".toml"])
def test_a_file_of_problems_is_a_workload(suffix: str, tmp_path: Path) -> None:
    if suffix == ".toml" and sys.version_info < (3, 11):
        pytest.skip("TOML is read from Python 3.11 on")
    path = tmp_path / f"mine{suffix}"
    rows = [GIVEN, {**GIVEN, "tokens": 512, "varlen": True, "sequences": 3}]
    tables = "\n".join(
        "[[problems]]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in row.items())
        for row in rows
    )
    path.write_text(tables if suffix == ".toml" else json.dumps({"problems": rows}))
    workload = workload_named(str(path))
    assert workload.name == "mine"
    assert workload.problems == tuple(problem_of(row) for row in rows)


def test_calls_are_counted_by_bucket(tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    rows = [GIVEN | {"count": 3}, GIVEN | {"tokens": 3000, "count": 4}, GIVEN | {"tokens": 64}]
    path.write_text(json.dumps(rows))
    workload = read_workload(path)
    long, short = (bucket.id() for bucket in buckets(workload.problems))
    assert workload.bucket_counts() == {long: 7, short: 1}
    assert workload_named("tiny").bucket_counts() is None
    for count in (0, -1, True, 1.5, "3", 2**54, 10**400):
        path.write_text(json.dumps([GIVEN | {"count": count}]))
        with pytest.raises(InvalidInput, match="of a problem must be a whole number of calls"):
            read_workload(path)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"H": 16}, "has no HV, K, V, dtype, tokens"),
        ({**GIVEN, "HV": 24}, "HV=24"),
        ({**GIVEN, "K": 300}, "K=300"),
        ({**GIVEN, "dtype": "int8"}, "unknown dtype 'int8'"),
        ({**GIVEN, "tokens": "4096"}, "tokens='4096' of a problem is not of type int"),
        ({**GIVEN, "tokens": True}, "tokens=True of a problem is not of type int"),
        ({**GIVEN, "heads": 4}, "unknown fact of a problem 'heads'"),
        ({**GIVEN, "decode": True}, 'write "op": "decode"'),
        ({**GIVEN, "gate": "scaler"}, "did you mean 'scalar'"),
        ({**GIVEN, "tokens": 0}, "at least 1 of each"),
        ({**GIVEN, "sequences": 3}, "cannot be divided into 3"),
        ({**GIVEN, "op": "decode"}, "one token per sequence"),
        (7, "a table of facts"),
        ({**GIVEN, "tokens": 2**30 + 1}, "tokens=1073741825 of a problem must be <= 1073741824"),
        ({**GIVEN, "H": 10**18}, "H=1000000000000000000 of a problem must be <="),
        ({**GIVEN, "gate": "none", "gate_in_kernel": True}, "a rule without a gate, none-delta"),
        ({**GIVEN, "dt_bias": True}, "dt_bias belongs to a raw gate"),
        ({**GIVEN, "x" * 10**6: 1}, "unknown fact of a problem 'xxx"),
        ({**GIVEN, "dtype": "x" * 10**6}, "unknown dtype 'xxx"),
        ({**GIVEN, "tokens": "x" * 10**6}, "tokens='xxx"),
        ({"tokens": 10**5000}, "of type int, too large to show"),
        ("x" * 10**6, "not 'xxx"),
    ],
)
def test_a_bad_problem_is_refused_with_its_value(given: object, says: str) -> None:
    with pytest.raises(GdnError, match=says.replace("(", r"\(")) as raised:
        problem_of(given)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "bad.json is empty; give at least one problem"),
        ('{"problem": []}', "has no list"),
        pytest.param("[" * 10**5 + "]" * 10**5, "is not JSON", id="deep"),
        pytest.param(f'[{{"tokens": {"9" * 5000}}}]', "is not JSON", id="digits"),
    ],
)
def test_a_bad_file_is_refused_with_its_path(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=says) as raised:
        read_workload(path)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read the workload file"):
        workload_named(str(tmp_path / "none.json"))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML is read from Python 3.11 on")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("problems = " + "[" * 10**5 + "]" * 10**5, id="deep"),
        pytest.param("tokens = " + "9" * 5000, id="digits"),
        pytest.param("problems", id="no value"),
    ],
)
def test_a_bad_toml_file_is_refused_with_its_path(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match="is not TOML") as raised:
        read_workload(path)
    assert str(path) in str(raised.value)


def test_a_bad_problem_in_a_file_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([GIVEN, {**GIVEN, "H": "x"}]))
    with pytest.raises(InvalidInput, match=r"problem 2 of .*mine\.json: H='x'"):
        read_workload(path)
