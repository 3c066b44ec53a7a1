"""The cost model's times for an H200 beside the times that others published for theirs.

Nothing is run. FLA's forward and backward are made of the steps of our plan ``split``, so the
model's times for ours should rise and fall with FLA's measured ones over heads, lengths and
sequences; how near they come is no claim about speed.
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
    """The published rows of an op, each with the case it timed; milliseconds by library."""
    rows = [row for row in json.loads(PUBLISHED.read_text())["rows"] if row["op"] == op]
    for case, row in zip(GRIDS[op](), rows, strict=True):
        if row["heads"] != [case.H, case.HV]:
            raise LookupError(f"{PUBLISHED} has {row} where {case.name} is due; its order changed.")
        yield case, {name: row[name] for name in LIBRARIES if name in row}


def predicted(cases: Sequence[Case], plan: str, model: CostModel) -> list[float | None]:
    """Milliseconds of the plan's default variant; None where it cannot run a case."""
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
    """A row for each library: how the model's times of the plan go with its published ones."""
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
    parser.add_argument("--plans", default="split", help="of ours, by their defaults")
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
            f"Predicted for an H200, not run; published: {source}.\n\n{table}\n"
        )


if __name__ == "__main__":
    main()
