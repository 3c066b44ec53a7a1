"""Reached: how much of a GPU's peak rates kernels reach. Fitted by ``python -m bench.cost_fit``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reached:
    """The constants of the cost model that are not latencies; for those see ``Latencies``.

    Args:
        launch: seconds that each kernel of a CUDA graph takes besides its work.
        clock: share of the peak clock that a GPU keeps while it multiplies matrices.
        memory: share of the bandwidth of device memory.
        matrix: share of the rate of the matrix units.
        issue: share of the issue slots.
        path: share of the path between an SM's registers and its shared memory or cache.
        special: share of the rate of special functions.
        far: bytes per cycle that an SM gets from the L2 cache.
        single: share of the matrix units' rate that products of a single warp reach where a warp
            group's are faster (sm_90).
        overlap: how well programs of an SM hide each other's chains. The time is the norm of this
            order of the chains' and the units' cycles: 1 would be their sum, infinity the longer.
    """

    launch: float = 2.5e-6
    clock: float = 0.9
    memory: float = 0.85
    matrix: float = 0.5
    issue: float = 0.4
    path: float = 0.7
    special: float = 0.8
    far: float = 40.0
    single: float = 0.62
    overlap: float = 3.0


REACHED = Reached()
