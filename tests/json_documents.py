"""The documents that commands print with ``--json``, checked against their guide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

GUIDE = Path(__file__).parent.parent / "docs" / "json.md"
OPEN = ("variant", "config", "matrix_instructions", "added_rows", "outcome")
"""Fields whose own names are those of axes, kinds or tables, or are described elsewhere."""


def documented(text: str) -> dict[str, Any]:
    """The document in a text, which has nothing else in it and no field that the guide lacks."""
    document: dict[str, Any] = json.loads(text, parse_constant=_refused)
    assert document["schema_version"] == 1
    unknown = set(_names(document)) - _known()
    assert not unknown, f"not in {GUIDE.name}: {sorted(unknown)}"
    return document


@cache
def _known() -> frozenset[str]:
    return frozenset(re.findall(r"`(\w+)`", GUIDE.read_text(encoding="utf-8")))


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from _names(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield name
            if name not in OPEN:
                yield from _names(part)


def _refused(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
