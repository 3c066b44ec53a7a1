"""Count launches, bytes, registers and instructions of our plans and of flash-linear-attention.

No GPU is needed. The tables go to ``bench/results``.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from bench.static import fla, ours, report
from bench.static.launch import Counted
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.check.static import shipping
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.report import console

INSTALL = "pip install --no-deps flash-linear-attention fla-core einops"
RESULTS = Path(__file__).parents[1] / "results"
GROUPED = Problem(op="forward", H=16, HV=32, K=128, V=128, dtype="bf16", tokens=8192, sequences=1)
"""The heads of Qwen3-Next."""

GPUS = {arch: gpu for arch, gpu in shipping.GPUS.items() if arch.startswith("sm_")}
"""The GPU that represents each architecture that the peer compiles for."""


def problems(op: str) -> tuple[Problem, Problem]:
    """Return a problem with two value heads per query/key head, and one with one."""
    grouped = replace(GROUPED, op=op)
    return grouped, replace(grouped, HV=grouped.H)


def our_pairs(op: str, target: Target) -> list[report.Pair]:
    """Return the counts of each plan for both problems.

    The second one (HV = H) is not compiled, as the number of heads only changes addresses.
    """
    grouped, equal = problems(op)
    others = {c.plan: c for c in ours.counted(equal, target, compile=False)}
    return [(c, others.get(c.plan)) for c in ours.counted(grouped, target)]


def peer_pairs(ops: tuple[str, ...], target: Target) -> dict[str, report.Pair]:
    """Return the peer's counts by op; the child processes run in parallel."""
    all_problems = [problem for op in ops for problem in problems(op)]
    with ThreadPoolExecutor(cores()) as pool:
        found = pool.map(lambda p: fla.launches(p, target, compile=p.group > 1), all_problems)
        counts = [
            Counted(plan=report.PEER, problem=problem, launches=launches)
            for problem, launches in zip(all_problems, found, strict=True)
        ]
    return {op: (counts[2 * i], counts[2 * i + 1]) for i, op in enumerate(ops)}


def peer_if_there(ops: tuple[str, ...], target: Target) -> dict[str, report.Pair]:
    """Return the peer's counts by op; empty, with a note, if they are not available."""
    if find_spec("fla") is None:
        console.remark(f"{report.PEER} is not installed and is not counted; {INSTALL}")
        return {}
    try:
        return peer_pairs(ops, target)
    except RuntimeError as error:
        console.remark(f"{report.PEER} is not counted: {error}")
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.static", description=__doc__)
    parser.add_argument("--arch", default="sm_90", choices=GPUS)
    parser.add_argument("--json", type=Path, help="file for the rows; the tables go to FILE.md")
    arguments = parser.parse_args()
    target, out = target_named(GPUS[arguments.arch]), arguments.json
    ops = ("forward", "backward")
    mine = {op: our_pairs(op, target) for op in ops}
    theirs = peer_if_there(ops, target)
    pairs = [pair for op in ops for pair in (*mine[op], *filter(None, [theirs.get(op)]))]
    console.say(report.HOW)
    console.table(report.PLANS, [report.plan_row(pair) for pair in pairs])
    if theirs and out is None:
        out = RESULTS / f"static-{arguments.arch}.json"
    if out is not None:
        report.write(pairs, report.conditions(target, GROUPED), out)
        console.say(f"every kernel: {out.with_suffix('.md')}")


if __name__ == "__main__":
    main()
