"""The JSON report: valid, complete, and read back as what was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields

import pytest
from jsonschema import Draft202012Validator, ValidationError

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.outcome import CheckRow, Difference, Outcome, Times
from gdn_ops.tuner.check.reports.json_report import read, render, schema
from gdn_ops.tuner.check.states import State
from tests.tuner.check.reports import outcomes


@pytest.mark.parametrize("make", outcomes.ALL.values(), ids=outcomes.ALL)
def test_every_outcome_is_valid_and_read_back(make: Callable[[], Outcome]) -> None:
    outcome = make()
    text = render(outcome)
    Draft202012Validator(schema()).validate(json.loads(text))
    # NaN, the ratio of no pairs, equals nothing
    assert repr(read(text)) == repr(outcome)


def test_the_schema_is_one_and_lists_every_field() -> None:
    document = schema()
    Draft202012Validator.check_schema(document)
    parts = document["$defs"]
    derived = {"schema_version", "verdict", "exit_code", "geometric_mean"}
    for kind, part, more in (
        (Outcome, document, derived),
        (CheckRow, parts["row"], set()),
        (Times, parts["times"], set()),
        (Difference, parts["difference"], set()),
    ):
        names = {field.name for field in fields(kind)} | more
        assert set(part["properties"]) == names == set(part["required"])
    assert parts["row"]["properties"]["state"]["enum"] == [state.value for state in State]


def test_the_schema_refuses_what_is_no_report() -> None:
    document = json.loads(render(outcomes.measured()))
    document["rows"][1]["times"]["head"][0] = "23 ms"
    with pytest.raises(ValidationError):
        Draft202012Validator(schema()).validate(document)


def test_verdict_exit_code_and_mean() -> None:
    document = json.loads(render(outcomes.measured()))
    assert (document["verdict"], document["exit_code"]) == ("failed", 1)
    ratios = [1.004, 0.92, 1.052, 1.31, 1.021]
    product = 1.0
    for ratio in ratios:
        product *= ratio
    assert document["geometric_mean"] == pytest.approx(product ** (1 / 5))
    empty = json.loads(render(outcomes.empty()))
    assert (empty["verdict"], empty["exit_code"], empty["geometric_mean"]) == ("passed", 0, None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not JSON"),
        ("[]", "not JSON with a schema_version"),
        ("{}", "schema_version"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 1}', "not of schema version 1"),
        ('{"schema_version": 1, "rows": [{}], "notes": []}', "not of schema version 1"),
    ],
)
def test_another_text_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        read(text)
