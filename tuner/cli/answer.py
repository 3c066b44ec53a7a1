"""Answer: what a command found, for people as its exit code and for scripts as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer


@dataclass(frozen=True)
class Answer:
    """What a command returns.

    Args:
        code: its exit code.
        results: the fields of its JSON document, which ``docs/json.md`` describes; or a function
            that makes them, if that takes time, because they are needed with ``--json`` only.
    """

    code: int = 0
    results: Mapping[str, Any] | Callable[[], Mapping[str, Any]] = field(default_factory=dict)

    def fields(self) -> Mapping[str, Any]:
        """The fields of its JSON document."""
        return self.results() if callable(self.results) else self.results


class Ended(Exception):
    """An error that ends a command with an exit code of its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """The options of every command."""

    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON document on standard output (docs/json.md), and what is for "
            "people on standard error.",
        ),
    ] = False
