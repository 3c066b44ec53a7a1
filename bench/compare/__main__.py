"""Time gdn_ops and every installed library on a grid of calls, interleaved in one run.

On a GPU each call is timed as a CUDA graph and eagerly. The outputs are compared with fp64.
"""

from __future__ import annotations

import argparse
import json
import time
from datetime import datetime, timezone
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch

from bench import UNFINISHED
from bench.compare.cases import GRIDS, Case
from bench.compare.child import Child
from bench.compare.measuring import Pace
from bench.compare.ours import KEEPING, ours
from bench.compare.peers import PEERS
from bench.compare.plot import write_plot
from bench.compare.report import OURS, markdown, methods, seconds
from bench.compare.roofline import roofline
from bench.compare.warming import warm
from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.variant import plan_named
from gdn_ops.dispatch.device import target_of
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.measure.fingerprint import cpu_model
from gdn_ops.tuner.report import console
from gdn_ops.tuner.session import device_named

RESULTS = Path(__file__).parents[1] / "results"

WARMERS, WARM_SHARE = 8, 1 / 3
"""Processes that compile before the comparison on a GPU, and the largest share of the time."""


def main() -> None:
    arguments = _arguments()
    device = torch.device(arguments.device)
    target = target_of(device)
    cases = list(GRIDS[arguments.grid]())
    names = _contenders(arguments.only, arguments.plans, any(c.op == "backward" for c in cases))
    count = len(cases) if arguments.cases is None else min(arguments.cases, len(cases))
    stem = (arguments.out or RESULTS / "compare") / f"{target.name}-{arguments.grid}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    conditions = _conditions(arguments, target.name, names)
    measured = [] if arguments.again else _known(stem, cases, conditions)
    if len(measured) >= count:
        console.say(f"{stem}.json already has all {count} cases; --again times them again")
        return
    child = Child(
        names, device=str(device), threads=arguments.threads,
        pace=Pace(rounds=arguments.rounds, seconds=arguments.seconds),
    )  # fmt: skip
    end = time.monotonic() + 60 * arguments.minutes
    if device.type == "cuda":
        compiled = [name for name in names if name != "transformers"]
        for why in warm(
            compiled, cases[len(measured) : count], device=str(device),
            seconds=WARM_SHARE * 60 * arguments.minutes, workers=min(WARMERS, cores()),
        ):  # fmt: skip
            console.remark(f"not compiled in advance: {why}")
    try:
        for case in cases[len(measured) : count]:
            if time.monotonic() > end:
                console.remark(
                    f"out of time after {len(measured)} of {count} cases; run the same command "
                    "again to continue"
                )
                raise SystemExit(UNFINISHED)
            answer = {**child.measure(case), "roofline": roofline(case, target)}
            measured.append((case, answer))
            console.say(_line(case, answer, names))
            _write(stem, measured, names, conditions)
    finally:
        child.close()
        if measured:
            console.say(f"wrote tables, raw samples and a plot: {stem}.md, .json, .html")


def _arguments() -> argparse.Namespace:
    default = "cuda:0" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("grid", nargs="?", choices=GRIDS, default="short")
    parser.add_argument("--only", default="", help=f"only these libraries: {', '.join(PEERS)}")
    parser.add_argument("--plans", default="", help="plans to time besides the dispatcher's choice")
    parser.add_argument("--cases", type=int, default=None, help="only the first N cases")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="time limit; run again to resume"
    )
    parser.add_argument("--again", action="store_true", help="time finished cases again")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds, >= 5")
    parser.add_argument("--seconds", type=float, default=2.0, help="sampling time per case")
    parser.add_argument("--device", default=default)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="folder for the results")
    arguments = parser.parse_args()
    if arguments.rounds < 5:
        parser.error(f"--rounds is {arguments.rounds}, too few for an interval; give >= 5")
    if arguments.cases is not None and arguments.cases < 1:
        parser.error(f"--cases is {arguments.cases}; give >= 1")
    try:
        arguments.device = device_named(arguments.device)
    except GdnError as error:
        parser.error(str(error))
    return arguments


def _contenders(only: str, plans: str, gradients: bool) -> list[str]:
    """Return the names of all contenders: gdn_ops, the given plans, and the installed peers.

    With gradients also gdn_ops with the tensors saved that peers save.
    """
    wanted = [name.strip() for name in only.split(",") if name.strip()] or list(PEERS)
    our_names = [ours().name, *([KEEPING] if gradients else [])]
    try:
        our_names += [ours(plan_named(plan.strip()).name).name for plan in plans.split(",") if plan]
    except GdnError as error:
        raise SystemExit(str(error)) from error
    for name in wanted:
        if name not in PEERS:
            raise SystemExit(f"--only has the unknown library {name}; known are {', '.join(PEERS)}")
    for name in wanted:
        if not PEERS[name].installed:
            console.remark(f"{name} is not installed and is skipped: {PEERS[name].install}")
    return [*our_names, *(name for name in wanted if PEERS[name].installed)]


def _known(
    stem: Path, cases: list[Case], conditions: dict[str, Any]
) -> list[tuple[Case, dict[str, Any]]]:
    """Return the first cases of the grid that earlier runs measured under the same conditions."""
    file = stem.with_suffix(".json")
    if not file.exists():
        return []
    report = json.loads(file.read_text())
    if {**report["conditions"], "when": None} != {**conditions, "when": None}:
        return []
    pairs = zip(cases, report["rows"], strict=False)
    return list(takewhile(lambda pair: pair[1]["case"] == pair[0].name, pairs))


def _conditions(arguments: argparse.Namespace, target: str, names: list[str]) -> dict[str, Any]:
    on_gpu = arguments.device.startswith("cuda")
    device = torch.cuda.get_device_name(arguments.device) if on_gpu else cpu_model()
    return {
        "target": target,
        "device": device,
        "threads": arguments.threads,
        "contenders": ", ".join(names),
        "torch": torch.__version__,
        "versions": {name: PEERS[name].version for name in names if name in PEERS},
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _line(case: Case, answer: dict[str, Any], names: list[str]) -> str:
    if "failed" in answer:
        return f"{case.name}: {answer['failed']}"
    method = next(iter(methods([(case, answer)])), "")
    times = ((name, seconds(answer, name, method)) for name in names)
    parts = [f"{name} {seconds_text(s)}" for name, s in times if s is not None]
    return f"{case.name}: {', '.join(parts)}"


def _write(
    stem: Path,
    measured: list[tuple[Case, dict[str, Any]]],
    names: list[str],
    conditions: dict[str, Any],
) -> None:
    rows = [{**answer, "case": case.name} for case, answer in measured]
    report = {"conditions": conditions, "rows": rows}
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    heading = "# Ours and others\n\n" + ", ".join(
        f"{k} {v}" for k, v in conditions.items() if k != "versions"
    )
    heading += "".join(f", {name} {v}" for name, v in conditions["versions"].items())
    stem.with_suffix(".md").write_text(markdown(measured, names, heading))
    method = next(iter(methods(measured)), None)
    if method is not None and OURS in names:
        write_plot(measured, names, method, stem.with_suffix(".html"))


if __name__ == "__main__":
    main()
