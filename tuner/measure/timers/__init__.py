"""Timers: how long a call takes on a kind of device."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any, Protocol

import torch

from gdn_ops.codegen.errors import LaunchError

Run = Callable[[int], object]
"""Makes one call on an argument set."""
Sampler = Callable[[], float]
"""Takes one sample: seconds a call, the mean over a batch of calls."""

SAMPLE_SECONDS = 5e-3
"""Shortest sample; shorter calls are batched."""


class CaptureError(LaunchError):
    """Calls could not be captured in a CUDA graph, which may have broken the CUDA context."""


class Timer(Protocol):
    """What ``measure`` asks of a device."""

    def argument_sets(self, set_bytes: int) -> int:
        """How many argument sets calls rotate through, so that none finds its inputs in cache."""

    def samplers(
        self, run: Run, sets: int, *, eager: bool = False, all_methods: bool = True
    ) -> dict[str, Sampler]:
        """Warm a contender up and return its samplers by method, the preferred method first.

        Every contender of a device gets the same methods, for times of different methods do not
        compare.

        Args:
            eager: of calls that may wait for the device, and so can be sampled in no other way.
            beside: other methods than the preferred one are wanted, too.

        Raises:
            CaptureError: the device's preferred method is not to be had for these calls.
        """

    def conditions(self) -> dict[str, Any]:
        """What besides the contenders decides the times; its ``flags`` doubt them in words."""


def timer_of(device: torch.device, *, threads: int) -> Timer:
    """The timer of a device; ``threads`` become torch's on a CPU."""
    if device.type == "cpu":
        from gdn_ops.tuner.measure.timers.cpu import CpuTimer

        return CpuTimer(threads)
    from gdn_ops.tuner.measure.timers.cuda import CudaTimer

    return CudaTimer(device)


def batch(seconds: float, sets: int) -> int:
    """Calls of one sample: ``SAMPLE_SECONDS`` or more, and every set as often as any other."""
    calls = ceil(SAMPLE_SECONDS / max(seconds, 1e-9))
    return calls if calls <= 1 else ceil(calls / sets) * sets
