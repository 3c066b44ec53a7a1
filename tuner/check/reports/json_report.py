"""Report as JSON: the whole outcome; ``outcome.schema.json`` describes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from math import inf, nan
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.tuner.check.outcome import CheckRow, Difference, Outcome, Times
from gdn_ops.tuner.check.reports.summary import geometric_mean, verdict
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.report.json_document import plain

TO_FILE = True
SCHEMA_VERSION = 1
"""Grows when a field changes its meaning or goes away, not when one is added."""
_DERIVED = ("schema_version", "verdict", "exit_code", "geometric_mean")
"""What the report has besides the fields of ``Outcome``."""


def render(outcome: Outcome) -> str:
    """The outcome, with its verdict, exit code and geometric mean."""
    return json.dumps(fields(outcome), indent=1, allow_nan=False) + "\n"


def fields(outcome: Outcome) -> dict[str, Any]:
    """The fields of the report."""
    return {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict(outcome),
        "exit_code": outcome.exit_code(),
        "geometric_mean": geometric_mean(outcome),
        **plain(asdict(outcome)),
    }


def read(text: str) -> Outcome:
    """The outcome that ``render`` was given.

    Raises:
        InvalidInput: the text is not JSON, of another schema version, or not of the schema.
    """
    try:
        document = json.loads(text)
        version = document.pop("schema_version")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"the report is not JSON with a schema_version: {error}; "
            "write it with --report json=FILE."
        ) from error
    if version != SCHEMA_VERSION:
        raise InvalidInput(
            f"the report has schema version {shown(version)}, and this version of gdn-ops reads "
            f"{SCHEMA_VERSION}; write it again with --report json=FILE."
        )
    try:
        return _outcome({k: v for k, v in document.items() if k not in _DERIVED})
    except (TypeError, KeyError, ValueError) as error:
        raise InvalidInput(
            f"the report is not of schema version {SCHEMA_VERSION}: {error}; "
            "write it again with --report json=FILE."
        ) from error


def schema() -> dict[str, Any]:
    """The JSON Schema of the report."""
    found = files("gdn_ops.tuner.check.reports") / "outcome.schema.json"
    document: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return document


def _outcome(values: Mapping[str, Any]) -> Outcome:
    rows = tuple(_row(row) for row in values["rows"])
    return Outcome(**{**values, "rows": rows, "notes": tuple(values["notes"])})


def _row(values: Mapping[str, Any]) -> CheckRow:
    times = values["times"]
    return CheckRow(
        **{
            **values,
            "state": State(values["state"]),
            "notes": tuple(values["notes"]),
            "times": None if times is None else _times(times),
            "differences": tuple(Difference(**d) for d in values["differences"]),
        }
    )


def _times(values: Mapping[str, Any]) -> Times:
    ratio, high = values["ratio"], values["high"]
    return Times(
        **{
            **values,
            "base": tuple(values["base"]),
            "head": tuple(values["head"]),
            "ratio": nan if ratio is None else ratio,
            "high": inf if high is None else high,
        }
    )
