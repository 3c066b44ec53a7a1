"""Request: a report that the user asked for with ``--report FORMAT[=FILE]``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput, UnknownName, shown
from gdn_ops.results_path import expanded
from gdn_ops.tuner.check.reports import FORMATS

OPTION = "--report"


@dataclass(frozen=True)
class Request:
    """A format of ``FORMATS``, and the file that it goes to; None for standard output."""

    format: str
    file: Path | None = None


def requests_of(texts: Sequence[str]) -> tuple[Request, ...]:
    """The reports that the texts of ``--report`` ask for, e.g. ``junit=check.xml``, ``github``.

    Raises:
        UnknownName: a format does not exist.
        InvalidInput: a format lacks its file, takes none, or two reports share a file.
    """
    found: list[Request] = []
    for text in texts:
        request = _request(text)
        for other in found:
            _check_apart(request, other)
        found.append(request)
    return tuple(found)


def _request(text: str) -> Request:
    name, equals, file = text.partition("=")
    if name not in FORMATS:
        raise UnknownName.of("report format", name, FORMATS)
    if not FORMATS[name].TO_FILE:
        if equals:
            raise InvalidInput(
                f"{OPTION} {shown(text)} names a file, and {name} prints to standard output; "
                f"give {OPTION} {name}."
            )
        return Request(name)
    if not file:
        raise InvalidInput(f"{OPTION} {shown(text)} names no file; give {OPTION} {name}=FILE.")
    path = expanded(Path(file), OPTION)
    if os.path.isdir(path):
        raise InvalidInput(
            f"{OPTION} {shown(text)} names a folder; give a file in it, e.g. "
            f"{OPTION} {name}={path / name}."
        )
    return Request(name, path)


def _check_apart(request: Request, other: Request) -> None:
    if request.file is None or other.file is None:
        if request == other:
            raise InvalidInput(f"{OPTION} {request.format} is given twice; give it once.")
    elif os.path.realpath(request.file) == os.path.realpath(other.file):
        raise InvalidInput(
            f"{OPTION} {other.format} and {OPTION} {request.format} both write {request.file}; "
            "give each its own file."
        )
