"""Outputs: what ``gdn check`` prints and writes at its end; they are checked before it begins."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gdn_ops.codegen.errors import GdnError, InvalidInput
from gdn_ops.tuner.check.baseline_file import Run, read_baseline, write_baseline
from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.reports import delivery, table
from gdn_ops.tuner.check.reports.request import OPTION, Request
from gdn_ops.tuner.report import console
from gdn_ops.tuner.report.counted import counted


@dataclass(frozen=True)
class Outputs:
    """The reports that were asked for, and the baseline file that the run is added to.

    Args:
        inputs: files that the check reads, by the option that names them.

    Raises:
        InvalidInput: a file would be written twice, or a report would replace a file that is read;
            or the baseline file cannot be written.
    """

    reports: tuple[Request, ...]
    save: Path | None
    inputs: Mapping[str, str | Path | None]

    def __post_init__(self) -> None:
        taken = {name: file for name, file in self.inputs.items() if file and os.path.isfile(file)}
        if self.save is not None:
            taken["--save"] = self.save
            _check_save(self.save)
        for report in self.reports:
            for name, file in taken.items():
                if report.file is not None and _same(report.file, Path(file)):
                    raise InvalidInput(
                        f"{OPTION} {report.format} would replace {report.file}, the file of "
                        f"{name}; give the report its own file."
                    )

    def write(self, outcome: Outcome, run: Run | None) -> tuple[str, ...]:
        """Print the table, write the reports and add the run to the baseline file.

        Args:
            run: the samples of the head; None if it was not measured.

        Returns:
            a sentence for each output that could not be written.
        """
        failures: list[str] = []
        with _printing(failures):
            table.show(outcome)
        failures += delivery.write(outcome, self.reports)
        if self.save is None:
            pass
        elif run is None:
            failures.append(f"nothing was measured, so nothing was saved to {self.save}.")
        else:
            try:
                kept = len(write_baseline(self.save, run).runs)
            except GdnError as error:
                failures.append(str(error))
            else:
                runs = counted(kept, "run")
                with _printing(failures):
                    console.say(f"{self.save} has {runs}; compare with it by --base {self.save}")
        return tuple(failures)


def _check_save(save: Path) -> None:
    """Raise InvalidInput if a run cannot be added to a file."""
    folder = Path(os.path.realpath(save)).parent
    if os.path.isdir(save):
        raise InvalidInput(f"--save {save} is a folder; name a file in it.")
    if not os.path.isdir(folder):
        raise InvalidInput(f"--save {save} is in no folder that exists; name another file.")
    if not os.access(folder, os.W_OK):
        raise InvalidInput(f"--save {save} is in a folder that is read-only; name another file.")
    if not os.path.exists(save):
        return
    if not os.path.isfile(save):
        raise InvalidInput(f"--save {save} is a device or a pipe; name a file.")
    try:
        read_baseline(save)
    except GdnError as error:
        raise InvalidInput(
            f"--save {save} exists, and nothing can be added to it; name another file, or remove "
            f"it. {error}"
        ) from error


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


@contextmanager
def _printing(failures: list[str]) -> Iterator[None]:
    """Print inside the block; if that fails, go on without standard output.

    A reader that has left, as in ``gdn check | head``, is no failure.
    """
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except (console.ReaderLeft, BrokenPipeError):
        _discard()
    except OSError as error:
        failures.append(f"cannot print the table: {error.strerror}; free standard output.")
        _discard()


def _discard() -> None:
    """Let standard output take what is still buffered, and what follows, without an error."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
