"""Baseline files: raw samples of a side and its environment, which ``gdn check --save`` writes."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, ResultsError, shown
from gdn_ops.tuner.check.facts import Described, differing
from gdn_ops.tuner.check.processes import LONGEST, SHORTEST, is_time
from gdn_ops.tuner.whole_file import alone_in, write_whole

KIND, SCHEMA = "gdn-ops baseline", 1

MAX_RUNS = 20
"""Runs that a file keeps; the oldest are dropped."""
ENOUGH_RUNS = 3
"""Runs from which the noise between runs is known."""
LEAST_NOISE = 0.01
"""Noise between two runs that is assumed if fewer runs are known, as a fraction."""
NOISE_DEVIATIONS = 2.0
"""Standard deviations between runs by which the threshold is widened."""
TO_DEVIATION = 1.4826
"""Standard deviation of normal numbers over their median absolute deviation."""


@dataclass(frozen=True, kw_only=True)
class StoredRow:
    """One problem of a run: what it ran on, and the samples of each process, in seconds."""

    described: Described
    processes: tuple[tuple[float, ...], ...]

    @property
    def medians(self) -> tuple[float, ...]:
        return tuple(statistics.median(samples) for samples in self.processes)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run on one device.

    Args:
        label: the side that was measured, in words.
        started: ISO 8601, UTC.
    """

    label: str
    started: str
    target: str
    environment: Mapping[str, str]
    rows: tuple[StoredRow, ...]

    @property
    def conditions(self) -> dict[str, str]:
        """What must be the same for two runs to be compared, by name."""
        return {"target": self.target, **self.environment}

    def row(self, facts: Mapping[str, Any]) -> StoredRow | None:
        return next((row for row in self.rows if row.described.facts == facts), None)


@dataclass(frozen=True)
class Baseline:
    """The runs of a file, oldest first; all of one target and environment."""

    runs: tuple[Run, ...]

    @property
    def newest(self) -> Run:
        return self.runs[-1]

    def seconds(self, facts: Mapping[str, Any]) -> float:
        """Seconds per call: the median over runs with today's code of the median over processes."""
        return statistics.median(map(statistics.median, self._medians(facts)))

    def medians(self, facts: Mapping[str, Any]) -> tuple[float, ...]:
        """Seconds per call in each process of the newest run."""
        row = self.newest.row(facts)
        assert row is not None
        return row.medians

    def noise(self, facts: Mapping[str, Any]) -> tuple[float, int]:
        """By how much two runs of the same code may differ, as a fraction, and the runs it is from.

        It is ``NOISE_DEVIATIONS`` standard deviations between runs. With fewer than ``ENOUGH_RUNS``
        that of processes within a run stands for it, and at least ``LEAST_NOISE``.
        """
        runs = self._medians(facts)
        if len(runs) >= ENOUGH_RUNS:
            return NOISE_DEVIATIONS * _deviation([statistics.median(run) for run in runs]), len(
                runs
            )
        within = max(_deviation(run) for run in runs)
        return NOISE_DEVIATIONS * max(within, LEAST_NOISE), len(runs)

    def with_run(self, run: Run) -> Baseline:
        """With a run added, and the oldest ones dropped.

        Raises:
            InvalidInput: the run is of another target or environment.
        """
        if difference := differing(self.newest.conditions, run.conditions):
            raise InvalidInput(
                f"the baseline is of another environment ({difference}); save to another file."
            )
        return Baseline((*self.runs, run)[-MAX_RUNS:])

    def _medians(self, facts: Mapping[str, Any]) -> list[tuple[float, ...]]:
        """Medians of processes by run, of the runs whose code was that of the newest."""
        newest = self.newest.row(facts)
        assert newest is not None
        rows = [row for run in self.runs if (row := run.row(facts)) is not None]
        return [row.medians for row in rows if row.described.key == newest.described.key]


def read_baseline(path: Path) -> Baseline:
    """Read a file that ``write_baseline`` wrote.

    Raises:
        InvalidInput: it is no such file, truncated, or of another schema.
        ResultsError: it cannot be read.
    """
    again = "save it anew with `gdn check --save FILE`."
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidInput(f"{path} is not a whole JSON file ({error}); {again}") from error
    except OSError as error:
        raise ResultsError(f"cannot read the baseline {path}: {error}; check the path.") from error
    if not isinstance(data, dict) or data.get("kind") != KIND:
        raise InvalidInput(f"{path} is no baseline of `gdn check`; {again}")
    if data.get("schema_version") != SCHEMA:
        raise InvalidInput(
            f"{path} has schema version {shown(data.get('schema_version'))}, and this gdn-ops "
            f"reads {SCHEMA}; {again}"
        )
    try:
        runs = tuple(_run(run) for run in data["runs"])
        if not runs:
            raise ValueError("it has no runs")
        return Baseline(runs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is no sound baseline ({type(error).__name__}: {error}); {again}"
        ) from error


def write_baseline(path: Path, run: Run) -> Baseline:
    """Add a run to a file, which need not exist; the file is replaced as a whole.

    Raises:
        InvalidInput: the file is no baseline, or one of another environment.
        ResultsError: it cannot be written.
    """
    try:
        with alone_in(Path(os.path.realpath(path)).parent):
            baseline = read_baseline(path).with_run(run) if path.exists() else Baseline((run,))
            runs = [asdict(run) for run in baseline.runs]
            text = json.dumps({"kind": KIND, "schema_version": SCHEMA, "runs": runs}, indent=1)
            write_whole(path, text + "\n")
    except OSError as error:
        raise ResultsError(
            f"cannot write {path}: {error.strerror or error}; name another file with --save."
        ) from error
    return baseline


def _run(data: Mapping[str, Any]) -> Run:
    rows = tuple(
        StoredRow(
            described=_described(row["described"]),
            processes=tuple(tuple(_seconds(x) for x in taken) for taken in row["processes"]),
        )
        for row in data["rows"]
    )
    for row in rows:
        if not row.processes or not all(row.processes):
            raise ValueError(f"{row.described.id} has no samples")
    facts = {name: _text(data[name]) for name in ("label", "started", "target")}
    environment = {_text(name): _text(value) for name, value in data["environment"].items()}
    if not environment.get("threads", "1").isdecimal():
        raise ValueError(f"threads is {shown(environment['threads'])}, not a number")
    return Run(**facts, environment=environment, rows=rows)


def _described(data: Mapping[str, Any]) -> Described:
    """What a side ran a problem on; the facts of a problem are flat."""
    described = Described(**data)
    for name, value in data.items():
        if name == "facts":
            for fact in (*value, *value.values()):
                if not isinstance(fact, str | int | float | None):
                    raise ValueError(f"a fact of a problem is {shown(fact)}")
        elif name == "variant":
            if not isinstance(value, Mapping | None):
                raise ValueError(f"variant is {shown(value)}, not an object")
        elif value is not None or name != "id":
            _text(value)
    return described


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a text")
    return value


def _seconds(value: Any) -> float:
    if not is_time(value):
        raise ValueError(
            f"{shown(value)} is not a number of seconds from {SHORTEST:g} to {LONGEST:g}"
        )
    return float(value)


def _deviation(seconds: Sequence[float]) -> float:
    """The standard deviation of the logs of some times, by their median absolute deviation."""
    logs = [log(x) for x in seconds]
    middle = statistics.median(logs)
    return TO_DEVIATION * statistics.median(abs(x - middle) for x in logs)
