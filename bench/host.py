"""The overhead of gdn-ops besides its kernels: the dispatch of a warm call, and the import."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import torch

import gdn_ops
from bench.inputs import layer_inputs
from bench.rows import Row
from gdn_ops.dispatch.bindings import BOUND


class _Idle:
    """A launcher that launches nothing."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, call: object) -> tuple[None, None]:
        return None, None


def lookup(calls: int = 2000, batches: int = 15) -> Row:
    """Time a warm call with a launcher that does nothing."""
    x = layer_inputs(B=1, T=16, H=1, HV=2, K=16, V=16, dtype=torch.float32)
    # No gradients, as in a serving process.
    given = [x[name] for name in ("q", "k", "v", "g", "beta")]
    gdn_ops.chunk_gated_delta_rule(*given)
    launchers = dict(BOUND)
    for signature, launcher in launchers.items():
        BOUND[signature] = _Idle(launcher.scale)  # type: ignore[assignment]
    try:
        samples = []
        for _ in range(batches):
            begin = time.perf_counter()
            for _ in range(calls):
                gdn_ops.chunk_gated_delta_rule(*given)
            samples.append((time.perf_counter() - begin) / calls)
    finally:
        BOUND.update(launchers)
    return Row("warm call, everything but the launch", statistics.median(samples) * 1e6, "us", 5.0,
               most=True)  # fmt: skip


def import_time(rounds: int = 7) -> Row:
    """Time ``import gdn_ops`` after ``import torch``, each time in a new process."""
    script = (
        "import time, torch; t = time.perf_counter(); import gdn_ops; "
        "print(time.perf_counter() - t)"
    )
    samples = [
        float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                             check=True).stdout)
        for _ in range(rounds)
    ]  # fmt: skip
    return Row("import gdn_ops on top of torch", statistics.median(samples) * 1e3, "ms", 50.0,
               most=True)  # fmt: skip


def rows() -> list[Row]:
    """Measure all rows of the host's overhead."""
    return [lookup(), import_time()]
