"""Options that several commands share, each declared once as a field of a dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any, TypeVar, get_type_hints

Returned = TypeVar("Returned")


def with_options(
    **groups: type,
) -> Callable[[Callable[..., Returned]], Callable[..., Returned]]:
    """Add groups of options to a command.

    The command takes each group as one parameter; Typer sees one option per field in its place.

    Args:
        groups: a dataclass for each parameter of the command.
    """

    def decorated(command: Callable[..., Returned]) -> Callable[..., Returned]:
        @wraps(command)
        def with_groups(**arguments: Any) -> Returned:
            made = {
                parameter: group(**{f.name: arguments.pop(f.name) for f in fields(group)})
                for parameter, group in groups.items()
            }
            return command(**made, **arguments)

        hints = get_type_hints(command, include_extras=True)
        shown = [
            parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if name not in groups
        ]
        for group in groups.values():
            types = get_type_hints(group, include_extras=True)
            shown += [
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=field.default,
                    annotation=types[field.name],
                )
                for field in fields(group)
            ]
        with_groups.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        with_groups.__annotations__ = {p.name: p.annotation for p in shown}
        return with_groups

    return decorated
