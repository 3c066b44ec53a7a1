"""How many CPU cores this process may use."""

from __future__ import annotations

import os


def cores() -> int:
    """Number of cores that this process may use; it can be smaller than the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1
