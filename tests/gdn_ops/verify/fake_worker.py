"""A worker that verifies nothing: ``FAKE_VERDICTS`` says how each plan's check ends.

A verdict may also be for an op, a plan and a chunk size, e.g. ``forward split 64``. Each check adds
a line with the plan's name to the file ``FAKE_LOG``.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from gdn_ops.workers.worker import main

Payload = dict[str, Any]
hung = False


def ready(payload: Payload) -> Payload:
    if "device" in _verdicts():
        raise RuntimeError(f"{payload['device']} is busy or unavailable")
    return {}


def check(payload: Payload) -> Payload:
    global hung
    plan = payload["variant"]["plan"]
    if hung:
        os.abort()  # the kernel before it still runs
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(f"{plan}\n")
    BT = payload["variant"]["interface"].get("BT")
    name = f"{payload['problem']['op']} {plan} {BT}"
    how = _verdicts().get(name) or _verdicts().get(plan, "ok")
    if how == "silent":
        time.sleep(600)
    if how == "crash":
        os.abort()
    if how == "memory":
        raise MemoryError("no room")
    if how == "slow":
        time.sleep(0.5)
        how = "ok"
    if how == "hang":
        hung, how = True, "timeout"
    message = "" if how == "ok" else "error 0.3 of o, bar 0.005"
    return {"status": how, "errors": {"o": 0.3}, "message": message}


def _verdicts() -> dict[str, str]:
    found: dict[str, str] = json.loads(os.environ["FAKE_VERDICTS"])
    return found


if __name__ == "__main__":
    main({name: f"__main__:{name}" for name in ("ready", "check")})
