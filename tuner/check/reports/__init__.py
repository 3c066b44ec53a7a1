"""The formats of a check's reports; a new one is a module with ``render`` and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.reports import (
    bencher,
    benchmark_action,
    github,
    json_report,
    junit,
    markdown,
    pytorch_v3,
)


class Format(Protocol):
    """A module of this folder."""

    @property
    def TO_FILE(self) -> bool:
        """Whether the report goes to a file that the user names, or to standard output."""

    def render(self, outcome: Outcome) -> str:
        """The report as text."""


FORMATS: Mapping[str, Format] = {
    "junit": junit,
    "json": json_report,
    "markdown": markdown,
    "github": github,
    "benchmark-action": benchmark_action,
    "bencher": bencher,
    "pytorch": pytorch_v3,
}
"""By the name that ``--report`` takes. The table in the terminal (``table``) is always printed."""
