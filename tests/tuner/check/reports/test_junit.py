"""The JUnit report: valid, each state as its element, nothing that XML cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import xmlschema

from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.reports.junit import render
from gdn_ops.tuner.check.states import State
from tests.tuner.check.reports import outcomes

SCHEMA = Path(__file__).parent / "schemas" / "junit.xsd"


@cache
def schema() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(SCHEMA))


def cases(outcome: Outcome) -> list[ET.Element]:
    return list(ET.fromstring(render(outcome).encode()).iter("testcase"))


def result_of(case: ET.Element) -> tuple[str, str | None]:
    for child in case:
        if child.tag != "system-out":
            return child.tag, child.get("type")
    return "passed", None


@pytest.mark.parametrize("make", outcomes.ALL.values(), ids=outcomes.ALL)
def test_every_outcome_is_valid(make: Callable[[], Outcome]) -> None:
    schema().validate(render(make()).encode())


def test_the_schema_refuses_two_test_cases_of_one_name() -> None:
    text = render(outcomes.measured())
    names = [case.get("name") for case in cases(outcomes.measured())]
    assert names[0] and names[1]
    with pytest.raises(xmlschema.XMLSchemaValidationError):
        schema().validate(text.replace(names[0], names[1]).encode())


def test_each_state_has_its_element() -> None:
    outcome = outcomes.measured()
    found = {}
    for row, case in zip(outcome.rows, cases(outcome), strict=True):
        found.setdefault(row.state, []).append(result_of(case))
    passed = [("passed", None)]
    assert found == {
        State.UNCHANGED: passed,
        State.PASSED: passed,
        State.IMPROVED: passed,
        State.NEW: passed,
        State.REMOVED: passed,
        # the second one is exempt
        State.REGRESSED: [("failure", "regression"), ("skipped", None)],
        State.WRONG: [("failure", "accuracy")],
        State.CRASHED: [("error", "crash")],
        State.INCONCLUSIVE: [("skipped", None)],
        State.ENVIRONMENT: [("skipped", None)],
    }
    assert set(found) == set(State)


def test_counts_are_those_of_the_elements() -> None:
    for outcome in (outcomes.measured(), outcomes.static(), outcomes.empty()):
        root = ET.fromstring(render(outcome).encode())
        for element in (root, *root.iter("testsuite")):
            assert element.get("tests") == str(len(list(element.iter("testcase"))))
            for count, tag in (("failures", "failure"), ("errors", "error")):
                assert element.get(count) == str(len(list(element.iter(tag))))
        for suite in root.iter("testsuite"):
            assert suite.get("skipped") == str(len(list(suite.iter("skipped"))))


def test_a_case_has_the_time_of_its_check_and_kernel_times_as_text() -> None:
    outcome = outcomes.measured()
    case = cases(outcome)[3]
    assert case.get("classname") == "gdn_ops.h200.forward"
    assert case.get("name") == f"{outcome.rows[3].name}[bf16]"
    assert case.get("time") == "12.250"
    message = case[0].get("message") or ""
    assert message.startswith("regressed: 1.052 times the base's time")
    assert "23.5 ms -> 24.7 ms" in message and "confirmed by a second run" in message
    output = case.findtext("system-out") or ""
    assert "head, microseconds: " in output and "chunk_h.py.jinja" in output


def test_exempt_rows_and_what_cannot_be_compared_say_why() -> None:
    outcome = outcomes.measured()
    texts = {case.get("name"): case for case in cases(outcome)}
    for row in outcome.rows:
        if row.exempt is not None or row.state is State.ENVIRONMENT:
            skipped = texts[f"{row.name}[{row.dtype}]"].find("skipped")
            assert skipped is not None
            assert (row.exempt or row.message.rstrip(".")) in (skipped.get("message") or "")


def test_names_that_differ_in_white_space_stay_apart() -> None:
    names = [case.get("name") or "" for case in cases(outcomes.hostile())]
    assert names[1] == f"{names[0]} (2)"
    assert len(set(names)) == 4
    assert all("]]> a|b" in name and "ü中" in name for name in names)


def test_properties_name_the_environment() -> None:
    root = ET.fromstring(render(outcomes.measured()).encode())
    found = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert found == {
        "kind": "measured",
        "base": "3f2a91c (main)",
        "head": "working tree",
        **outcomes.measured().environment,
    }


def test_an_interruption_is_said() -> None:
    root = ET.fromstring(render(outcomes.interrupted()).encode())
    output = root.findtext("testsuite/system-out") or ""
    assert "interrupted before every row was decided" in output
    assert "7 problems were not compared." in output
