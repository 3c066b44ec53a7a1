"""Record hardware counters for our slowest case relative to a peer: ``python -m ... FOLDER``.

It finds the case in the folder's comparisons and runs itself with ncu:
``python -m ... FOLDER --case GRID/N``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.campaign.comparisons import comparisons
from bench.compare.cases import GRIDS, Case
from bench.compare.inputs import inputs_of
from bench.compare.ours import ours
from bench.compare.report import OURS
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.tuner.report import console

SECTIONS = (
    "SpeedOfLight", "MemoryWorkloadAnalysis", "ComputeWorkloadAnalysis", "Occupancy",
    "LaunchStats", "WarpStateStats",
)  # fmt: skip
LAUNCHES = 12
"""Kernel launches to record; a call has fewer."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.campaign.profile", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of a campaign with a comparison")
    parser.add_argument("--case", help="run case N of a grid, given as GRID/N")
    arguments = parser.parse_args()
    if arguments.case:
        grid, _, number = arguments.case.partition("/")
        call(list(GRIDS[grid]())[int(number)])
        return
    found = worst(arguments.folder)
    if found is None:
        raise SystemExit(
            f"{arguments.folder} has no comparison with a peer; run the stage `compare` first."
        )
    ratio, grid, number, case = found
    console.say(f"{case.name}: the best peer takes {ratio:.2f} of our time")
    again = [sys.executable, "-m", "bench.campaign.profile", str(arguments.folder), "--case",
             f"{grid}/{number}"]  # fmt: skip
    raise SystemExit(subprocess.run([*ncu(arguments.folder / "profile.txt"), *again]).returncode)


def ncu(log: Path) -> list[str]:
    """Return the command line of ncu for our kernels; it leaves the clocks as they are."""
    names = "|".join(name for name, spec in KERNELS.items() if spec.compiled)
    sections = [part for section in SECTIONS for part in ("--section", section)]
    return [
        "ncu", "--clock-control", "none", "--kernel-name", f"regex:^({names})$",
        "--launch-count", str(LAUNCHES), *sections, "--log-file", str(log),
    ]  # fmt: skip


def worst(folder: Path) -> tuple[float, str, int, Case] | None:
    """Return the case in a folder with the smallest ratio of a peer's time to ours."""
    found: list[tuple[float, str, int, Case]] = []
    for grid, measured in comparisons(folder):
        for number, (case, row) in enumerate(measured):
            ratio = _ratio(row)
            if ratio is not None:
                found.append((ratio, grid, number, case))
    return min(found, key=lambda item: item[0], default=None)


def _ratio(row: Mapping[str, Any]) -> float | None:
    medians = {
        name: next(iter(contender["times"].values()))["median"]
        for name, contender in row.get("contenders", {}).items()
        if contender.get("times")
    }
    mine = medians.pop(OURS, None)
    theirs = [s for name, s in medians.items() if not name.startswith(OURS)]
    return min(theirs) / mine if theirs and mine else None


def call(case: Case) -> None:
    """Run a case with gdn_ops twice: once to compile it, once to record it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.no_grad():
        run = ours().bind(case, inputs_of(case, device))
        run()
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
