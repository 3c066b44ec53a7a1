"""A probe that measures nothing: it answers with what ``side.json`` in its side's folder says.

The file maps each problem (by its fact ``name``) to ``seconds`` (None: the side cannot run it),
``key``, ``verdict``, ``fault`` (``abort``, ``hang``, ``raise`` or ``interrupt``), ``spread`` (the
median absolute deviation of the samples) and ``swing``, by which every second process is slower and
the others are faster. Jobs are noted in ``jobs.log`` beside it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

WORKER = Path(sys.argv.pop(1))
FOLDER = Path(os.environ["PYTHONPATH"].split(os.pathsep)[0])
SIDE = json.loads((FOLDER / "side.json").read_text())
sys.path.insert(0, str(WORKER.parents[2]))


def ready(job):
    return {}


def winners(job):
    note("winners")
    if job["device"] != "cpu":
        return {"absent": f"device {job['device']!r} is not in this machine"}
    if SIDE.get("broken"):
        raise ModuleNotFoundError("No module named 'missing'")
    return {
        "root": SIDE.get("root", str(FOLDER)),
        "device": "cpu",
        "threads": 1,
        "target": SIDE.get("target", "cpu-test"),
        "environment": {"device": "A CPU", "threads": "1", **SIDE.get("environment", {})},
        "problems": [{"name": name} for name in SIDE["problems"]],
        "faults": [],
    }


def describe(job):
    rows = []
    for facts in job["problems"]:
        own = SIDE["problems"].get(facts["name"])
        if own is None or own.get("seconds") is None:
            rows.append({"facts": facts, "error": "no plan can run it"})
        else:
            rows.append(
                {
                    "facts": facts, "id": facts["name"], "op": "forward", "dtype": "fp32",
                    "variant": {"plan": "torch"}, "text": "torch", "how": own.get("how", "exact"),
                    "key": own.get("key", "same"),
                }
            )  # fmt: skip
    return {"rows": rows}


def verify(job):
    note(f"verify {job['problem']['name']}")
    status = SIDE["problems"][job["problem"]["name"]].get("verdict", "ok")
    return {"status": status, "message": "error 0.3 of o, bar 0.005"}


def measure(job):
    name = job["problem"]["name"]
    note(f"measure {name}")
    own = SIDE["problems"][name]
    fault = own.get("fault")
    if fault == "abort":
        os.abort()
    if fault == "hang":
        time.sleep(600)
    if fault == "raise":
        raise ValueError("the launch failed")
    if fault == "interrupt" and jobs().count(f"measure {name}") > 12:
        os.kill(int(sys.argv[1]), signal.SIGINT)
        time.sleep(600)
    process = (jobs().count(f"measure {name}") - 1) // 4  # of four turns each
    seconds = own["seconds"] * own.get("swing", 1.0) ** (-1) ** process
    spread = own.get("spread", 1e-3)
    samples = [seconds * (1 + spread * (i % 3 - 1)) for i in range(job["rounds"])]
    return {
        "samples": samples,
        "method": "cpu-eager",
        "warnings": own.get("warnings", []),
        "clock": own.get("clock"),
    }


def note(text: str) -> None:
    with (FOLDER / "jobs.log").open("a") as file:
        file.write(f"{text}\n")
    with (FOLDER.parent / "jobs.log").open("a") as file:
        file.write(f"{FOLDER.name} {text}\n")


def jobs() -> list[str]:
    return (FOLDER / "jobs.log").read_text().splitlines()


if __name__ == "__main__":
    import importlib.util

    spec = importlib.util.spec_from_file_location("worker", WORKER)
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    kinds = ("ready", "winners", "describe", "verify", "measure")
    worker.main({name: f"__main__:{name}" for name in kinds})
