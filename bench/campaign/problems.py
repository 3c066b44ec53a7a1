"""The problems that are tuned for the comparison's grids: ``python -m ... FILE GRID...``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from bench.compare.cases import GRIDS, Case
from bench.compare.ours import problem_of
from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.spaces.workloads import buckets

REPRESENTATIVE = ((32768,), (8192,), (2048,), (1024,) * 8)
"""Of the long forward grid these lengths are tuned for every geometry of heads; the others are
served by the nearest of them, as a user's sizes are."""


def problems_of(grids: Iterable[str]) -> tuple[Problem, ...]:
    """Buckets of the grids' cases, each once, the usual heads of Qwen3-Next first."""
    cases = [case for grid in grids for case in GRIDS[grid]() if _tuned(grid, case)]
    cases.sort(key=lambda case: (case.H, case.HV) != (16, 32))
    return buckets(problem_of(case) for case in cases)


def _tuned(grid: str, case: Case) -> bool:
    return grid != "forward" or case.lengths in REPRESENTATIVE


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.campaign.problems", description=__doc__)
    parser.add_argument("file", type=Path, help="the workload to write, for gdn tune")
    parser.add_argument("grids", nargs="+", choices=GRIDS)
    arguments = parser.parse_args()
    facts = [dict(problem.facts()) for problem in problems_of(arguments.grids)]
    arguments.file.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
