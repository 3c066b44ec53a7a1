"""How many processors this process has."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores this process may use, which can be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1
