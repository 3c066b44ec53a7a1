"""Compare the cost model's times with the times that other libraries published for an H200.

Nothing is run. The model was fitted to other libraries' kernels (``bench.cost_fit``), not to ours,
so the ratios are what to expect of our plans, within the model's error. A backward is predicted as
the libraries are timed: the forward has kept A. With ``--target`` the model's times are those of
another GPU, such as a B200, for which nothing was published row by row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import exp, log
from pathlib import Path

from bench.compare.cases import GRIDS, Case
from bench.compare.ours import problem_of
from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.saved_tensors import saved_names
from gdn_ops.codegen.schedule import running
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
PLANS = "split,fused,segmented,fused_sm90,segmented_sm90"
BEST = "the fastest of each row"
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


class LikeModel(CostModel):
    """A cost model that compiles a stage for one number of heads, and counts it for all.

    Heads only change addresses, so this saves compiles. Heads that share keys differ from those
    that do not.
    """

    def compile(self, work: list[tuple[str, str, Problem, Config]]) -> None:
        super().compile([(plan, stage, like(p), config) for plan, stage, p, config in work])

    @staticmethod
    def _key(stage: str, problem: Problem, config: Config) -> tuple[str, str, str]:
        return CostModel._key(stage, like(problem), config)


def like(problem: Problem) -> Problem:
    """The problem with the number of heads for which kernels are compiled."""
    return replace(problem, H=16, HV=16 * min(problem.group, 2))


def kept(variant: Variant, problem: Problem) -> tuple[str, ...]:
    """The stages that run; those of a backward if the forward has kept A."""
    given: Sequence[str] = ()
    if problem.op == "backward":
        forward = replace(problem, op="forward")
        made_by = Variant.default(variant.plan, forward)
        given = tuple(saved_names("inverse", made_by, forward, variant, problem))
    return running(variant, problem, given=given)


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
            seconds = (
                model.stage_seconds(
                    plan, stage, problem, variant.config(stage), longest=max(case.lengths)
                )
                for stage in kept(variant, problem)
            )
            found.append(1e3 * sum(seconds))
        except GdnError:
            found.append(None)
    return found


Times = Mapping[str, list[float | None]]
"""Milliseconds of each row, by plan."""


def least(times: Times) -> list[float | None]:
    """The fastest plan of each row."""
    rows = zip(*times.values(), strict=True)
    return [min((t for t in row if t is not None), default=None) for row in rows]


def compared(op: str, times: Times) -> list[tuple[str, ...]]:
    """Return one row per plan and library that compares the predicted with the published times."""
    published_times = [published_row for _, published_row in published(op)]
    rows = []
    for plan, ours in times.items():
        for name in LIBRARIES:
            pairs = [
                (p, t[name])
                for p, t in zip(ours, published_times, strict=True)
                if p is not None and name in t
            ]
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
    parser.add_argument("--plans", default=PLANS, help="our plans, with their defaults")
    parser.add_argument("--target", default="h200", help="GPU of the model's times")
    parser.add_argument("--ops", default="forward,backward")
    parser.add_argument("--out", type=Path, help="Markdown file of the table")
    arguments = parser.parse_args()
    rows: list[tuple[str, ...]] = []
    with WorkerPool(cores(), threads=1) as pool:
        target = target_named(arguments.target)
        model = LikeModel(target, pool)
        for op in arguments.ops.split(","):
            cases = [case for case, _ in published(op)]
            plans = [plan_named(plan).name for plan in arguments.plans.split(",")]
            times = {plan: predicted(cases, plan, model) for plan in plans}
            if len(plans) > 1:
                times[BEST] = least(times)
            rows += compared(op, times)
    console.table(COLUMNS, rows)
    if arguments.out:
        lines = [[name.rstrip(">") for name in COLUMNS], ["---"] * len(COLUMNS), *rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        source = json.loads(PUBLISHED.read_text())["source"]
        arguments.out.write_text(
            f"Predicted for {target.device}, not measured; published for H200: {source}.\n\n"
            f"{table}\n"
        )


if __name__ == "__main__":
    main()
