"""Compare the cost model's times for an H200 with the times that other libraries published.

Nothing is run. FLA's forward and backward have the same steps as our plan ``split``, so the
model's times for that plan should correlate with FLA's measured times over head counts, lengths
and numbers of sequences. The ratio of the two says nothing about which is faster.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from math import exp, log
from pathlib import Path

from bench.compare.cases import GRIDS, Case
from bench.compare.ours import problem_of
from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.cost.judgement import spearman
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.report import console
from gdn_ops.tuner.workers.worker_pool import WorkerPool

RESULTS = Path(__file__).parent / "results"
PUBLISHED = RESULTS / "published-h200.json"
LIBRARIES = ("FLA", "FlashQLA", "FlashInfer")
COLUMNS = (
    "op",
    "plan",
    "library",
    "rows>",
    "rank correlation>",
    "predicted / published>",
    "spread>",
)


def published(op: str) -> Iterator[tuple[Case, dict[str, float]]]:
    """Yield the published rows of an op: the case, and milliseconds by library."""
    rows = [row for row in json.loads(PUBLISHED.read_text())["rows"] if row["op"] == op]
    for case, row in zip(GRIDS[op](), rows, strict=True):
        if row["heads"] != [case.H, case.HV]:
            raise LookupError(
                f"{PUBLISHED} has {row} in place of {case.name}; restore the order of its rows."
            )
        yield case, {name: row[name] for name in LIBRARIES if name in row}


def predicted(cases: Sequence[Case], plan: str, model: CostModel) -> list[float | None]:
    """Return the predicted milliseconds of a plan's default variant; None if it cannot run."""
    found: list[float | None] = []
    for case in cases:
        problem = problem_of(case)
        variant = Variant.default(plan, problem)
        try:
            if variant.reasons(problem, model.target):
                found.append(None)
                continue
            found.append(1e3 * model.seconds(problem, variant))
        except GdnError:
            found.append(None)
    return found


def compared(op: str, plan: str, model: CostModel) -> list[tuple[str, ...]]:
    """Return one row per library that compares the predicted with the published times."""
    cases, times = zip(*published(op), strict=True)
    ours = predicted(cases, plan, model)
    rows = []
    for name in LIBRARIES:
        pairs = [(p, t[name]) for p, t in zip(ours, times, strict=True) if p and name in t]
        if not pairs:
            continue
        logs = [log(p / t) for p, t in pairs]
        mean = sum(logs) / len(logs)
        spread = exp((sum((x - mean) ** 2 for x in logs) / len(logs)) ** 0.5)
        correlation = spearman([p for p, _ in pairs], [t for _, t in pairs])
        rows.append((op, plan, name, str(len(pairs)), f"{correlation:.3f}", f"{exp(mean):.2f}",
                     f"{spread:.2f}"))  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.published", description=__doc__)
    parser.add_argument("--plans", default="split", help="our plans, with their defaults")
    parser.add_argument("--ops", default="forward,backward")
    parser.add_argument("--out", type=Path, help="Markdown file of the table")
    arguments = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    with WorkerPool(cores(), threads=1) as pool:
        model = CostModel(target_named("h200"), pool)
        for op in arguments.ops.split(","):
            for plan in arguments.plans.split(","):
                rows += compared(op, plan_named(plan).name, model)
    console.table(COLUMNS, rows)
    if arguments.out:
        lines = [[name.rstrip(">") for name in COLUMNS], ["---"] * len(COLUMNS), *rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        source = json.loads(PUBLISHED.read_text())["source"]
        arguments.out.write_text(
            f"Predicted for an H200, not measured; published: {source}.\n\n{table}\n"
        )


if __name__ == "__main__":
    main()
