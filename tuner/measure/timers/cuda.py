"""Time on a GPU: CUDA graphs and eager calls, cold L2, events; CUDA, or HIP under its name."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from time import monotonic
from typing import Any

import torch

from gdn_ops.tuner.measure.timers import CaptureError, Run, Sampler, batch
from gdn_ops.tuner.measure.timers.nvml import gpu_state

GRAPH, EAGER = "cuda-graph", "cuda-eager"
"""The methods: times of the one are never ranked against times of the other."""

L2_TIMES = 3
"""L2 caches that the argument sets fill together, so that none is there when its turn comes."""
MOST_SETS = 128
FREE_SHARE = 0.4
"""Share of the free memory for argument sets; what the calls allocate needs the rest."""
WARM_SECONDS = 0.2
"""Long enough for the clocks to rise."""
STILL_WARM, REWARM_SECONDS = 0.5, 0.03
"""Seconds within which they do not fall, and what a contender takes to settle then."""


class CudaTimer:
    """Samples the replay of a CUDA graph that makes one call on each set, and eager calls."""

    last_work = float("-inf")
    """When this process had last timed something, on the monotonic clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(self.device)
        self.pool = torch.cuda.graph_pool_handle()
        self.before = gpu_state(self.device)
        self.flags: list[str] = []

    def argument_sets(self, set_bytes: int) -> int:
        torch.cuda.empty_cache()  # what earlier checks took counts as used otherwise
        l2 = max(1, torch.cuda.get_device_properties(self.device).L2_cache_size)
        free, _ = torch.cuda.mem_get_info(self.device)
        # one more, for the set in use does not push itself out
        wanted = -(-L2_TIMES * l2 // set_bytes) + 1
        sets = max(1, min(wanted, MOST_SETS, int(free * FREE_SHARE) // set_bytes))
        if sets < wanted:
            filled = sets * set_bytes / l2
            self.flags.append(f"warm L2: {sets} argument sets fill it {filled:.1f} times")
        return sets

    def samplers(
        self, run: Run, sets: int, *, eager: bool = False, all_methods: bool = True
    ) -> dict[str, Sampler]:
        for i in range(sets):
            run(i)  # compiles, and makes what a capture may not: handles, workspaces, tables
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
        doubts = [*self.flags, *self.before.get("warnings", []), *after.get("warnings", [])]
        return {"before": self.before, "after": after, "warnings": list(dict.fromkeys(doubts))}

    def _captured(self, run: Run, sets: int) -> torch.cuda.CUDAGraph:
        """One call a set as a graph."""
        graph = torch.cuda.CUDAGraph()
        try:
            # replayed one at a time, and never read, graphs may share their memory
            with torch.cuda.graph(graph, pool=self.pool):
                for i in range(sets):
                    run(i)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # the end of a broken capture raises in place of what broke it
            chain = [e for e in (error.__context__, error) if e is not None]
            why = ", then ".join(next(iter(str(e).splitlines()), type(e).__name__) for e in chain)
            raise CaptureError(
                f"a call cannot be captured in a CUDA graph: {why}; a kernel variant must not wait "
                "for the GPU, and eager times do not compare with graphs'. This process' CUDA "
                "context may be unusable and must end."
            ) from error
        return graph

    def _sampler(self, work: Callable[[], object], *, calls: int, sets: int) -> Sampler:
        """Warm ``work`` up, which makes ``calls`` calls, and size its sample."""
        warm = monotonic() - CudaTimer.last_work < STILL_WARM
        end, repeats = monotonic() + (REWARM_SECONDS if warm else WARM_SECONDS), 1
        seconds = _elapsed(work, repeats)
        while monotonic() < end:
            repeats = batch(seconds, sets)
            seconds = _elapsed(work, repeats) / repeats
        repeats = batch(seconds, sets)
        return lambda: _elapsed(work, repeats) / (repeats * calls)


def _elapsed(work: Callable[[], object], repeats: int) -> float:
    """Seconds on the GPU from an idle start."""
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
