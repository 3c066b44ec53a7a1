"""Report in JUnit's XML, as Jenkins and GitLab read it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree as ET

from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.reports.row_text import (
    difference_text,
    finding_text,
    number_text,
    one_line,
    remarks_text,
    sentence,
    state_text,
)
from gdn_ops.tuner.check.reports.summary import compared, counts, geometric_mean_text, reason
from gdn_ops.tuner.check.states import State

TO_FILE = True
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even as a reference."""
_RESULTS = {
    State.REGRESSED: ("failure", "regression"),
    State.WRONG: ("failure", "accuracy"),
    State.CRASHED: ("error", "crash"),
    State.INCONCLUSIVE: ("skipped", None),
    State.ENVIRONMENT: ("skipped", None),
}
"""Element and its type that a test case has by state; one of another state has passed."""


def render(outcome: Outcome) -> str:
    """One suite per target with a test case per row.

    The time of a test case is how long the row's check took; times of kernels are in its message
    and output. No test case has the attribute ``file``, which Jenkins' schema does not allow.
    """
    by_target: dict[str, list[CheckRow]] = {}
    for row in outcome.rows:
        by_target.setdefault(row.target, []).append(row)
    root = ET.Element("testsuites", {"name": "gdn check"})
    names: Counter[tuple[str, str]] = Counter()
    suites = [_suite(t, rows, outcome, names) for t, rows in by_target.items()]
    root.extend(suites or [_suite(None, [], outcome, names)])
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    root.set("time", _seconds(outcome.seconds))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(
    target: str | None, rows: list[CheckRow], outcome: Outcome, names: Counter[tuple[str, str]]
) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        {
            "name": _legal("gdn check" if target is None else f"gdn check on {target}"),
            "tests": str(len(rows)),
            "time": _seconds(sum(row.seconds for row in rows)),
            "timestamp": _legal(outcome.started),
        },
    )
    about = {
        "kind": outcome.kind, "base": outcome.base, "head": outcome.head, **outcome.environment
    }  # fmt: skip
    suite.append(_properties(about))
    cases = [_case(row, names) for row in rows]
    suite.extend(cases)
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(sum(case.find(tag) is not None for case in cases)))
    lines = (compared(outcome), reason(outcome), counts(outcome.rows), geometric_mean_text(outcome))
    ET.SubElement(suite, "system-out").text = _lines([*lines, *outcome.notes])
    return suite


def _properties(values: Mapping[str, str]) -> ET.Element:
    properties = ET.Element("properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": _legal(name), "value": _legal(value)})
    return properties


def _case(row: CheckRow, names: Counter[tuple[str, str]]) -> ET.Element:
    group = _legal(f"gdn_ops.{row.target}.{row.op}")
    name = _unique(group, _legal(f"{row.name}[{row.dtype}]"), names)
    case = ET.Element("testcase", {"classname": group, "name": name, "time": _seconds(row.seconds)})
    tag, kind = _RESULTS.get(row.state, (None, None))
    if row.exempt is not None and row.state.failing:
        tag, kind = "skipped", None
    if tag is not None:
        found = "; ".join(part for part in (finding_text(row), remarks_text(row)) if part)
        message = f"{state_text(row)}: {found}" if found else state_text(row)
        result = ET.SubElement(case, tag, {"message": _legal(message)})
        if kind is not None:
            result.set("type", kind)
            result.text = _text("\n".join(_details(row)))
    ET.SubElement(case, "system-out").text = _lines([sentence(row), *_details(row)])
    return case


def _details(row: CheckRow) -> list[str]:
    """What the message of a row has no room for."""
    sides = (("base", row.base), ("head", row.head), ("file", row.file))
    found = [f"{name}: {value}" for name, value in sides if value is not None]
    if row.times is not None:
        for name, times in (("base", row.times.base), ("head", row.times.head)):
            found.append(f"{name}, microseconds: {' '.join(f'{1e6 * t:.6g}' for t in times)}")
    found += [difference_text(d) for d in row.differences]
    found += [f"{name}: {number_text(value)}" for name, value in row.figures.items()]
    return found


def _unique(group: str, name: str, names: Counter[tuple[str, str]]) -> str:
    """The name, numbered if the group has it already: GitLab drops all but one of a name."""
    names[group, name] += 1
    number = names[group, name]
    # every name ends in its dtype's bracket, so none has a number of its own
    return name if number == 1 else f"{name} ({number})"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"


def _lines(lines: Iterable[str]) -> str:
    return _text("\n".join(one_line(line) for line in lines if line))


def _legal(text: str) -> str:
    """The text in one line, as an attribute can hold it."""
    return one_line(_text(text))


def _text(text: str) -> str:
    return _ILLEGAL.sub("", text)
