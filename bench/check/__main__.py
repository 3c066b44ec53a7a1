"""Measure how reliable the verdicts of `gdn check` are on this machine's CPU.

Twenty small problems are compared in each run: the code with itself, and with a copy whose kernel
does 5 %, 10 % or 30 % more work. Each comparison is a line of a file that is written as it goes, so
an interrupted run goes on where it stopped. The table goes to bench/results.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from bench.check.planting import copy, plant, products
from bench.check.problems import problems
from bench.check.rates import COLUMNS, LEVELS, Level, record, table_row
from gdn_ops.dispatch.device import target_of
from gdn_ops.tuner.check.measured import check_measured
from gdn_ops.tuner.check.measured_check import Request
from gdn_ops.tuner.measure.fingerprint import cpu_model
from gdn_ops.tuner.report import console

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"


def compare(level: Level, *, threads: int, seconds: float) -> list[dict[str, object]]:
    """One check of all problems between a copy of the code and one with extra work."""
    every = problems()
    with TemporaryDirectory() as scratch:
        base = copy(ROOT, Path(scratch) / "base")
        head = copy(ROOT, Path(scratch) / "head")
        if level.share:
            plant(head, products(every, level.share, threads=threads))
        request = Request(
            base=str(base),
            head=str(head),
            problems=[problem.facts() for problem in every],
            device="cpu",
            threads=threads,
            seconds=seconds,
            everything=True,
        )
        outcome, _ = check_measured(request, say=console.remark)
    if outcome.interrupted:
        raise KeyboardInterrupt
    return [record(row, level.share) for row in outcome.rows]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.check", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.1, help="per process and problem")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for table and lines")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # the user's own winners must not choose what the problems run on
    os.environ["GDN_RESULTS_DB"] = str(arguments.out / "no-such-results.db")
    target = target_of(torch.device("cpu")).name
    lines = arguments.out / f"check-{target}.jsonl"
    records = (
        [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    )
    for level in LEVELS:
        while sum(r["planted"] == level.share for r in records) < level.comparisons:
            new = compare(level, threads=arguments.threads, seconds=arguments.seconds)
            with lines.open("a") as file:
                file.writelines(json.dumps(record) + "\n" for record in new)
            records += new
            console.table(COLUMNS, [table_row(each, records) for each in LEVELS])
    rows = [table_row(level, records) for level in LEVELS]
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    heading = f"{cpu_model()}, {arguments.threads} thread, torch {torch.__version__}, {when}"
    names = [column.removesuffix(">") for column in COLUMNS]
    table = [names, ["---"] * len(names), *rows]
    text = "\n".join(f"| {' | '.join(row)} |" for row in table)
    (arguments.out / f"check-{target}.md").write_text(f"{heading}\n\n{text}\n")
    console.table(COLUMNS, rows)


if __name__ == "__main__":
    main()
