"""The GPU timer: CUDA graphs and eager calls, a cold L2 cache, events. HIP has the same names."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from time import monotonic
from typing import Any

import torch

from gdn_ops.tuner.measure.timers import CaptureError, Run, Sampler, batch
from gdn_ops.tuner.measure.timers.nvml import gpu_state

GRAPH, EAGER = "cuda-graph", "cuda-eager"
"""The methods; their times are never ranked against each other."""

L2_TIMES = 3
"""Size of all argument sets together over that of the L2 cache, so that no call finds its inputs
there."""
MAX_SETS = 128
FREE_SHARE = 0.4
"""Share of the free memory for argument sets; the rest is for what the calls allocate."""
WARM_SECONDS = 0.2
"""Long enough for the GPU's clocks to rise."""
STILL_WARM, REWARM_SECONDS = 0.5, 0.03
"""If the GPU was used less than ``STILL_WARM`` seconds ago, its clocks are still up, and
``REWARM_SECONDS`` are enough."""


class CudaTimer:
    """Samples the replay of a CUDA graph that makes one call on each set, and eager calls."""

    last_work = float("-inf")
    """When this process last timed something, on the monotonic clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(self.device)
        self.pool = torch.cuda.graph_pool_handle()
        self.before = gpu_state(self.device)
        self.warnings: list[str] = []

    def argument_sets(self, set_bytes: int) -> int:
        torch.cuda.empty_cache()  # otherwise memory cached by earlier checks counts as used
        l2 = max(1, torch.cuda.get_device_properties(self.device).L2_cache_size)
        free, _ = torch.cuda.mem_get_info(self.device)
        # one more, because the set in use does not evict itself
        wanted = -(-L2_TIMES * l2 // set_bytes) + 1
        sets = max(1, min(wanted, MAX_SETS, int(free * FREE_SHARE) // set_bytes))
        if sets < wanted:
            filled = sets * set_bytes / l2
            self.warnings.append(f"warm L2: {sets} argument sets fill it {filled:.1f} times")
        return sets

    def samplers(
        self, run: Run, sets: int, *, eager: bool = False, all_methods: bool = True
    ) -> dict[str, Sampler]:
        for i in range(sets):
            # compiles, and creates what must not be created in a capture: handles and workspaces
            run(i)
        torch.cuda.synchronize()
        found: dict[str, Sampler] = {}
        if not eager:
            graph = self._captured(run, sets)
            found[GRAPH] = self._sampler(graph.replay, calls=sets, sets=1)
        if eager or all_methods:
            arguments = cycle(range(sets))
            found[EAGER] = self._sampler(lambda: run(next(arguments)), calls=1, sets=sets)
        return found

    def conditions(self) -> dict[str, Any]:
        after = gpu_state(self.device)
        warnings = [*self.warnings, *self.before.get("warnings", []), *after.get("warnings", [])]
        return {"before": self.before, "after": after, "warnings": list(dict.fromkeys(warnings))}

    def _captured(self, run: Run, sets: int) -> torch.cuda.CUDAGraph:
        """A graph with one call per argument set."""
        graph = torch.cuda.CUDAGraph()
        try:
            # graphs are replayed one at a time and never read, so they can share their memory
            with torch.cuda.graph(graph, pool=self.pool):
                for i in range(sets):
                    run(i)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # ending a broken capture raises an error that hides the first one
            chain = [e for e in (error.__context__, error) if e is not None]
            why = ", then ".join(next(iter(str(e).splitlines()), type(e).__name__) for e in chain)
            raise CaptureError(
                f"a call cannot be captured in a CUDA graph: {why}. A variant must not wait for "
                "the GPU, and eager times do not compare with those of graphs. The CUDA context "
                "may be unusable now, so end this process."
            ) from error
        return graph

    def _sampler(self, work: Callable[[], object], *, calls: int, sets: int) -> Sampler:
        """Warm up ``work``, which makes ``calls`` calls, and choose its repeats per sample."""
        warm = monotonic() - CudaTimer.last_work < STILL_WARM
        end, repeats = monotonic() + (REWARM_SECONDS if warm else WARM_SECONDS), 1
        seconds = _elapsed(work, repeats)
        while monotonic() < end:
            repeats = batch(seconds, sets)
            seconds = _elapsed(work, repeats) / repeats
        repeats = batch(seconds, sets)
        return lambda: _elapsed(work, repeats) / (repeats * calls)


def _elapsed(work: Callable[[], object], repeats: int) -> float:
    """Seconds on the GPU, starting when it is idle."""
    start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        work()
    end.record()
    end.synchronize()
    CudaTimer.last_work = monotonic()
    return float(start.elapsed_time(end)) / 1e3
