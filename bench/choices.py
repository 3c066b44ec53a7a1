"""Which variant the common problems run on, on ten GPUs, with what ships and nothing tuned.

python -m bench.choices      # writes bench/results/choices.md
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.dispatch.choice import FALLBACK, Choice, choose
from gdn_ops.dispatch.winners import load_winners
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.spaces.workloads import WORKLOADS, buckets

GPUS = (
    "a100", "a10", "rtx4090", "l40s", "h100", "h200", "b200", "b300", "rtx5090", "mi300x",
)  # fmt: skip
DETAILED = "h200"
"""The GPU whose variants are written out."""
LEFT_OUT = ("tiny",)
"""Workloads that try the tuner and are no calls of models."""
RESULT = Path(__file__).parent / "results" / "choices.md"


def problems() -> tuple[Problem, ...]:
    """The problems of every shipped workload, each bucket once."""
    found = (p for w in WORKLOADS.values() if w.name not in LEFT_OUT for p in w.problems)
    return buckets(found)


def choices(gpu: str) -> dict[Problem, Choice]:
    """The choice for each problem on a GPU, from the shipped results alone."""
    target = target_named(gpu)
    table = load_winners([shipped_database()], target=target)
    return {problem: choose(problem, target, table) for problem in problems()}


def table() -> str:
    """The choices as Markdown: a summary, the plan of each problem on each GPU, and variants."""
    found = {gpu: choices(gpu) for gpu in GPUS}
    return "\n".join([
        "# The choices for the common problems on ten GPUs",
        "",
        "Made by `python -m bench.choices` from the shipped results. Nothing here ran on a GPU;",
        "a kernel is verified on the GPU before its first result.",
        "",
        *_summary(found),
        "",
        "## Plans",
        "",
        "`p`: predicted for this problem; `~`: predicted for the nearest common problem; `d`: the",
        "default, because nothing is predicted for its head dims or for this GPU.",
        "",
        *_plans(found),
        "",
        f"## Variants on {DETAILED}",
        "",
        *_variants(found[DETAILED]),
        "",
    ])  # fmt: skip


def _summary(found: dict[str, dict[Problem, Choice]]) -> Iterator[str]:
    yield f"| GPU | problems | predicted | near | default | {FALLBACK} | plans |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for gpu, chosen in found.items():
        how = Counter(_mark(problem, choice) for problem, choice in chosen.items())
        plans = Counter(choice.variant.plan for choice in chosen.values())
        named = ", ".join(f"{plan} {count}" for plan, count in sorted(plans.items()))
        counts = [len(chosen), how["p"], how["~"], how["d"], plans[FALLBACK]]
        yield f"| {gpu} | {' | '.join(map(str, counts))} | {named} |"


def _plans(found: dict[str, dict[Problem, Choice]]) -> Iterator[str]:
    yield f"| problem | {' | '.join(found)} |"
    yield f"| --- |{' --- |' * len(found)}"
    for problem in problems():
        cells = [chosen[problem] for chosen in found.values()]
        texts = [f"{choice.variant.plan} {_mark(problem, choice)}" for choice in cells]
        yield f"| {problem.id()} | {' | '.join(texts)} |"


def _variants(chosen: dict[Problem, Choice]) -> Iterator[str]:
    yield "| problem | variant | from |"
    yield "| --- | --- | --- |"
    for problem, choice in chosen.items():
        near = choice.winner is not None and choice.winner.problem_id != problem.id()
        of = f", {choice.winner.problem_id}" if choice.winner is not None and near else ""
        yield f"| {problem.id()} | {choice.variant} | {choice.how}{of} |"


def _mark(problem: Problem, choice: Choice) -> str:
    if choice.winner is None:
        return {"default": "d"}.get(choice.how, choice.how)
    if choice.how != "predicted":
        return choice.how
    return "p" if choice.winner.problem_id == problem.id() else "~"


def main() -> int:
    RESULT.write_text(table())
    print(f"wrote {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
