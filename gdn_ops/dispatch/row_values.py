"""The values of a row of the view ``winners``, checked: anybody may have written them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from math import isfinite
from typing import Any

Row = sqlite3.Row | Mapping[str, Any]


def json_object(row: Row, key: str) -> dict[str, Any]:
    written = text(row, key)
    try:
        value = json.loads(written)
    except ValueError as error:
        raise ValueError(f"{key} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{key} is {value!r:.60}, not a JSON object")
    return value


def text(row: Row, key: str) -> str:
    value = row[key]
    if not isinstance(value, str):
        raise ValueError(f"{key} is {value!r:.60}, not a string")
    return value


def text_or_none(row: Row, key: str) -> str | None:
    return None if row[key] is None else text(row, key)


def seconds(row: Row, key: str) -> float:
    value = row[key]
    if not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise ValueError(f"{key} is {value!r:.60}, not a number of seconds > 0")
    return float(value)
