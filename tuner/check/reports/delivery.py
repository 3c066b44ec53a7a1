"""Delivery: writes the requested reports, each completely or not at all."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.reports import FORMATS, github
from gdn_ops.tuner.check.reports.request import OPTION, Request
from gdn_ops.tuner.report import console
from gdn_ops.tuner.whole_file import write_whole


def write(outcome: Outcome, requests: Sequence[Request]) -> tuple[str, ...]:
    """Write the reports, and go on with the next where one cannot be written.

    Returns:
        a sentence per report that could not be written.
    """
    failures = (_deliver(outcome, request) for request in requests)
    return tuple(failure for failure in failures if failure is not None)


def _deliver(outcome: Outcome, request: Request) -> str | None:
    text = FORMATS[request.format].render(outcome)
    if request.file is not None:
        try:
            _write(request.file, text)
        except OSError as error:
            return (
                f"cannot write the {request.format} report to {request.file}: {_why(error)}; "
                f"give {OPTION} {request.format}=FILE in a folder that exists and is writable."
            )
        return None
    if text:
        try:
            console.say(text.removesuffix("\n"))
        except OSError as error:
            return f"cannot print the {request.format} report: {_why(error)}; free standard output."
    summary = github.summary_file()
    if summary is not None:
        try:
            github.append_summary(outcome, summary)
        except OSError as error:
            return (
                f"cannot append to {summary}, which {github.SUMMARY_VARIABLE} names: "
                f"{_why(error)}; unset the variable or make the file writable."
            )
    return None


def _write(path: Path, text: str) -> None:
    """Write a file completely or not at all, and leave no temporary file."""
    content = text.encode("utf-8", "backslashreplace")
    if stream := _STREAM.fullmatch(str(path)):
        # not opened anew: that would empty the file that standard output goes to
        sys.stdout.flush()
        with os.fdopen(os.dup(_NUMBERS.get(stream[1]) or int(stream[2])), "wb") as own:
            own.write(content)
        return
    if path.exists() and not path.is_file():
        # a device or a pipe cannot be replaced; a pipe that nothing reads would block for ever
        number = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        os.set_blocking(number, True)
        with os.fdopen(number, "wb") as special:
            special.write(content)
        return
    write_whole(path, content)


_STREAM = re.compile(r"/dev/(stdout|stderr|fd/(\d{1,6}))")
_NUMBERS = {"stdout": 1, "stderr": 2}


def _why(error: OSError) -> str:
    if error.errno == errno.ENXIO:
        return "nothing reads this pipe"
    return error.strerror or str(error)
