"""The CPU timer: a fixed number of threads, batches of calls and the wall clock."""

from __future__ import annotations

from itertools import cycle
from time import perf_counter_ns
from typing import Any

import torch

from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.measure.machine_load import CALM_CORES, Load
from gdn_ops.tuner.measure.timers import Run, Sampler, batch

LARGE_SETS = 1 << 29
"""Two argument sets of at least this many bytes are enough."""
WARM_SECONDS = 0.02


class CpuTimer:
    """Samples eager calls; sets PyTorch's number of threads for the whole process."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self._before = Load.now()

    def argument_sets(self, set_bytes: int) -> int:
        return 2 if set_bytes >= LARGE_SETS else 3

    def samplers(
        self, run: Run, sets: int, *, eager: bool = False, all_methods: bool = True
    ) -> dict[str, Sampler]:
        arguments = cycle(range(sets))

        def sample(calls: int = 1) -> float:
            start = perf_counter_ns()
            for _ in range(calls):
                run(next(arguments))
            return (perf_counter_ns() - start) / calls / 1e9

        sample()  # renders, imports and allocates
        fastest, spent = sample(), 0.0
        while spent < WARM_SECONDS:
            seconds = sample()
            fastest, spent = min(fastest, seconds), spent + seconds
        calls = batch(fastest, sets)
        return {"cpu-eager": lambda: sample(calls)}

    def conditions(self) -> dict[str, Any]:
        available = cores()
        others = Load.now().others_since(self._before)
        warnings = []
        if torch.get_num_threads() > available:
            warnings.append(f"{torch.get_num_threads()} threads share {available} cores")
        if others is not None and others + torch.get_num_threads() > available + CALM_CORES:
            warnings.append(
                f"busy machine: other processes used {others:.1f} of {available} cores meanwhile"
            )
        return {
            "threads": torch.get_num_threads(),
            "cores": available,
            "cores_of_others": others,
            "warnings": warnings,
        }
