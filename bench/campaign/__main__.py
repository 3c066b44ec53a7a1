"""Measure a machine in stages, within a time limit.

The stages are: the machine's bandwidth and matrix rates; the tests that need a GPU; tuning the
problems of the grids; the comparison with every installed library; compute-sanitizer; and the
hardware counters of the worst case. Run the command again with the same folder to continue.
`python -m bench.campaign.report FOLDER` makes the tables, on any machine.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.campaign.stage import Ended, Stage, run
from bench.campaign.stages import Campaign, stages_of
from bench.compare.cases import GRIDS
from gdn_ops.codegen.errors import GdnError
from gdn_ops.tuner.report import console
from gdn_ops.tuner.session import device_named


def main() -> None:
    campaign, wanted = _arguments()
    campaign.folder.mkdir(parents=True, exist_ok=True)
    file = campaign.folder / "stages.json"
    known: dict[str, list[dict[str, Any]]] = json.loads(file.read_text()) if file.exists() else {}
    end = time.monotonic() + 60 * campaign.minutes
    missing = []
    for stage in stages_of(campaign):
        if wanted and stage.name not in wanted:
            continue
        if any(ended["status"] == "done" for ended in known.get(stage.name, ())):
            console.say(f"{stage.name}: already done")
            continue
        if why := stage.refuses():
            console.remark(f"{stage.name} is skipped: {why}")
            continue
        ended = _run(stage, campaign, end - time.monotonic())
        if ended is None:
            missing.append(stage.name)
            continue
        known.setdefault(stage.name, []).append(asdict(ended))
        file.write_text(json.dumps(known, indent=1) + "\n")
        if ended.status != "done":
            missing.append(stage.name)
    if missing:
        console.remark(
            f"not finished: {', '.join(missing)}; run the same command again to continue"
        )
    raise SystemExit(1 if missing else 0)


def _run(stage: Stage, campaign: Campaign, remaining: float) -> Ended | None:
    """Run a stage within its share of the time; None if too little time remains."""
    seconds = min(remaining, 60 * campaign.minutes * stage.share)
    if remaining < stage.least:
        console.remark(
            f"{stage.name} is not started: {max(0.0, remaining):.0f} s remain, it needs "
            f"{stage.least:.0f} s"
        )
        return None
    seconds = max(seconds, stage.least)
    console.say(f"{stage.name}: {stage.doc}; at most {seconds:.0f} s")
    ended = run(stage, seconds, campaign.folder / f"{stage.name}.log")
    console.say(f"  {ended.status} after {ended.seconds:.0f} s {ended.detail}".rstrip())
    return ended


def _arguments() -> tuple[Campaign, list[str]]:
    default = "cuda:0" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(
        prog="bench/campaign.sh", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("minutes", type=float, help="time limit for all stages of this call")
    parser.add_argument("folder", type=Path, help="folder for logs, rows, tables and the database")
    parser.add_argument(
        "grids", nargs="*", help=f"grids of bench.compare: {', '.join(GRIDS)} (default: short)"
    )
    parser.add_argument("--stages", default="", help="only these stages, separated by commas")
    parser.add_argument("--only", default="", help="only these libraries, separated by commas")
    parser.add_argument("--device", default=default)
    given = parser.parse_args()
    if not 0 < given.minutes < float("inf"):
        parser.error(f"minutes is {given.minutes}; give a number > 0")
    if unknown := [grid for grid in given.grids if grid not in GRIDS]:
        parser.error(f"unknown grid {unknown[0]}; known are {', '.join(GRIDS)}")
    try:
        device = device_named(given.device)
    except GdnError as error:
        parser.error(str(error))
    campaign = Campaign(
        folder=given.folder.absolute(), minutes=given.minutes, device=device,
        grids=given.grids or ["short"], only=given.only,
    )  # fmt: skip
    names = [stage.name for stage in stages_of(campaign)]
    wanted = [name.strip() for name in given.stages.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"--stages has the unknown stage {unknown[0]}; known are {', '.join(names)}")
    return campaign, wanted


if __name__ == "__main__":
    main()
