"""Timers: measure how long a call takes on a CPU or GPU."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, Protocol

import torch

from gdn_ops.codegen.errors import LaunchError

Run = Callable[[int], object]
"""Makes one call on an argument set."""
Sampler = Callable[[], float]
"""Takes one sample: seconds per call, as the mean over a batch of calls."""

SAMPLE_SECONDS = 5e-3
"""Minimal length of a sample; shorter calls are batched."""


class CaptureError(LaunchError):
    """Calls could not be captured in a CUDA graph; this may have broken the CUDA context."""


class Timer(Protocol):
    """Times calls on one device."""

    def argument_sets(self, set_bytes: int) -> int:
        """Number of argument sets to rotate through, so that no call has its inputs in a cache."""

    def samplers(
        self, run: Run, sets: int, *, eager: bool = False, all_methods: bool = True
    ) -> dict[str, Sampler]:
        """Warm a contender up and return its samplers by method, the preferred method first.

        All contenders on a device get the same methods, because times of different methods do not
        compare.

        Args:
            run: makes one call on an argument set.
            sets: number of argument sets.
            eager: the calls may wait for the device, so only eager calls can be sampled.
            all_methods: return all methods, not only the preferred one.

        Raises:
            CaptureError: the preferred method does not work for these calls.
        """

    def conditions(self) -> dict[str, Any]:
        """What else affects the times, e.g. clocks and load, with ``warnings`` in words."""


def timer_of(device: torch.device, *, threads: int) -> Timer:
    """The timer of a device; on a CPU it sets PyTorch's number of threads."""
    if device.type == "cpu":
        from gdn_ops.tuner.measure.timers.cpu import CpuTimer

        return CpuTimer(threads)
    from gdn_ops.tuner.measure.timers.cuda import CudaTimer

    return CudaTimer(device)


def batch(seconds: float, sets: int) -> int:
    """Number of calls in a sample: at least ``SAMPLE_SECONDS`` long, and equally many per set."""
    calls = ceil(SAMPLE_SECONDS / max(seconds, 1e-9))
    return calls if calls <= 1 else ceil(calls / sets) * sets
