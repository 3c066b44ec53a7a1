"""Report for PyTorch's benchmark database: records of the table ``oss_ci_benchmark_v3``.

Repository, commit and workflow are added by the uploader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.reports.head_time import head_time
from gdn_ops.tuner.check.reports.row_text import interval_text, one_line, ratio_text, state_text

TO_FILE = True
_REPOSITORIES = {"torch": "pytorch/pytorch", "triton": "triton-lang/triton"}
_UNIT, _PER_SECOND = "us", 1e6

Record = dict[str, object]


def render(outcome: Outcome) -> str:
    """A record per time and per figure of a static row; other rows are left out."""
    records = [record for row in outcome.rows for record in _records(row, outcome)]
    return json.dumps(records, indent=1, allow_nan=False) + "\n"


def _records(row: CheckRow, outcome: Outcome) -> Iterator[Record]:
    time = head_time(row)
    if time is not None:
        details = {
            "unit": _UNIT,
            "lower": repr(time.low * _PER_SECOND),
            "upper": repr(time.high * _PER_SECOND),
        }
        if row.times is not None:
            details |= {"ratio": ratio_text(row.times), "interval": interval_text(row.times)}
        yield _record(row, outcome, "latency", time.median * _PER_SECOND, details)
    for figure, value in row.figures.items():
        yield _record(row, outcome, figure, float(value), {})


def _record(
    row: CheckRow, outcome: Outcome, metric: str, value: float, details: dict[str, str]
) -> Record:
    return {
        "benchmark": {
            "name": "gdn check",
            "mode": "training" if row.op == "backward" else "inference",
            "dtype": one_line(row.dtype),
            "extra_info": _texts(
                kind=outcome.kind, base=outcome.base, head=outcome.head, state=state_text(row)
            ),
        },
        "model": {
            "name": one_line(row.name),
            "type": one_line(row.op),
            "backend": "gdn_ops",
            "origins": ["gdn_ops"],
            "extra_info": _texts(variant=row.head) if row.head else {},
        },
        "dependencies": {
            name: {"repo": repo, "version": one_line(outcome.environment[name])}
            for name, repo in _REPOSITORIES.items()
            if name in outcome.environment
        },
        "metric": {"name": one_line(metric), "benchmark_values": [value], "extra_info": details},
        "runners": [_runner(row, outcome)],
    }


def _runner(row: CheckRow, outcome: Outcome) -> Record:
    facts = _texts(**outcome.environment)
    runner: Record = {"type": one_line(row.target), "extra_info": facts}
    device = facts.get("device")
    if device is None:
        return runner
    if row.target.startswith("cpu"):
        return {**runner, "cpu_info": device}
    return {**runner, "gpu_info": device, "gpu_count": 1}


def _texts(**values: str) -> dict[str, str]:
    return {one_line(name): one_line(value) for name, value in values.items()}
