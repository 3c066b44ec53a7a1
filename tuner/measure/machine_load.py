"""The load that other processes put on this process's cores, from ``/proc/stat``."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAT = Path("/proc/stat")
CALM_CORES = 0.2
"""Cores that others may use while a machine counts as calm."""
LOOK_SECONDS = 0.5
_IDLE, _IOWAIT = 3, 4
"""Places among the times of a core, which are user, nice, system, idle, iowait, irq, ..."""


@dataclass(frozen=True)
class Load:
    """CPU time used until a moment, in seconds.

    Args:
        moment: of the monotonic clock.
        busy: of all processes on the cores that this process may use; None if it is unknown.
        own: of this process and of its children that have ended.
    """

    moment: float
    busy: float | None
    own: float

    @classmethod
    def now(cls, stat: Path = STAT) -> Load:
        own = sum(os.times()[:4])
        return cls(time.monotonic(), _busy_seconds(stat), own)

    def others_since(self, before: Load) -> float | None:
        """Cores that other processes used on average since an earlier moment; None if unknown."""
        seconds = self.moment - before.moment
        if self.busy is None or before.busy is None or seconds <= 0:
            return None
        return max(0.0, (self.busy - before.busy - (self.own - before.own)) / seconds)


def wait_until_calm(seconds: float) -> bool:
    """Wait until other processes leave the cores alone.

    Args:
        seconds: how long to wait at most.

    Returns:
        Whether the machine is calm; True if its load is unknown.
    """
    end = time.monotonic() + seconds
    while True:
        before = Load.now()
        time.sleep(min(LOOK_SECONDS, max(0.0, seconds)))
        others = Load.now().others_since(before)
        if others is None or others <= CALM_CORES:
            return True
        if time.monotonic() >= end:
            return False


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker does to wait until its machine is calm; the job has ``seconds``."""
    return {"calm": wait_until_calm(job["seconds"])}


def _busy_seconds(stat: Path) -> float | None:
    """CPU seconds since boot of the cores that this process may use."""
    try:
        lines = stat.read_text().splitlines()
        mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        ticks = [
            list(map(int, line.split()[1:9])) for line in lines if (line.split() or [""])[0] in mine
        ]
    except (OSError, AttributeError, ValueError, IndexError):
        return None
    if not ticks:
        return None
    busy = sum(sum(core) - core[_IDLE] - core[_IOWAIT] for core in ticks)
    return busy / os.sysconf("SC_CLK_TCK")
