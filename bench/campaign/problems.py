"""Write the problems to tune for the grids of the comparison: ``python -m ... FILE GRID...``."""

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
"""The lengths of the long forward grid that are tuned, for all head counts. Calls of the other
lengths run on the winner of the nearest one, as a user's calls do."""


def problems_of(grids: Iterable[str]) -> tuple[Problem, ...]:
    """Return the buckets of the grids' cases without repeats, Qwen3-Next's head counts first."""
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
