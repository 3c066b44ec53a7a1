"""The JSON document that a command prints with ``--json``; ``docs/json.md`` names its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import Any

from gdn_ops.results_url import ResultsUrl

SCHEMA_VERSION = 1
"""Grows when a field changes its meaning or goes away, not when one is added."""


def document(command: str, exit_code: int, results: Mapping[str, Any]) -> str:
    """The document of a command that ran to its end, as a text of ASCII characters."""
    head = {"schema_version": SCHEMA_VERSION, "command": command, "exit_code": exit_code}
    return _text({**head, **results})


def error_document(message: str, exit_code: int) -> str:
    """The document of a command that an error ended."""
    head = {"schema_version": SCHEMA_VERSION, "exit_code": exit_code}
    return _text({**head, "error": {"message": message}})


def plain(value: Any) -> Any:
    """The value as JSON has it: null for NaN and infinity, texts for paths and moments."""
    if isinstance(value, Mapping):
        return {str(name): plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path | ResultsUrl):
        return str(value)
    return value.value if isinstance(value, Enum) else value


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(plain(content), indent=1, allow_nan=False) + "\n"
