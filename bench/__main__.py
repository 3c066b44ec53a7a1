"""Run the benchmarks and write a table and the raw rows to ``bench/results``."""

from __future__ import annotations

import argparse
import json
import platform
from datetime import datetime, timezone
from pathlib import Path

import torch

from bench import cpu, host, training
from bench.rows import markdown
from gdn_ops.dispatch.device import target_of

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds, >= 5")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help="folder for the table and the rows"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rounds = max(5, arguments.rounds)
    rows = [*host.rows(), *cpu.rows(rounds), *training.rows(rounds)]
    target = target_of(torch.device("cpu"))
    conditions = {
        "target": target.name,
        "threads": arguments.threads,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    table = markdown(rows)
    print(table)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / target.name
    heading = ", ".join(f"{k} {v}" for k, v in conditions.items())
    stem.with_suffix(".md").write_text(f"{heading}\n\n{table}\n")
    report = {"conditions": conditions, "rows": [row.json() for row in rows]}
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
