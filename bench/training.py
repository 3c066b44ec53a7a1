"""Time and memory of a training step on the CPU, against transformers' fallback with autograd."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.models.qwen3_next import modeling_qwen3_next as qwen

import gdn_ops
from bench.cpu import plain
from bench.inputs import layer_inputs, repeated
from bench.interleave import interleaved, ratio
from bench.rows import Row

T = 1024
LEAVES = ("q", "k", "v", "g", "beta")
SETTLED = 2
"""Steps before memory is measured; they load code, thread pools and oneDNN's kernels."""


def _steps(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Return a training step of each contender: the outputs and the gradients of five inputs."""
    x = layer_inputs(B=1, T=T, dtype=dtype)
    leaves = [x[name].requires_grad_() for name in LEAVES]
    q, k, v, g, beta = leaves
    HV = v.shape[2]
    do = torch.randn_like(v)
    theirs = plain(qwen.torch_chunk_gated_delta_rule)

    def gradients(o: torch.Tensor) -> object:
        return torch.autograd.grad(o, leaves, do)

    def ours() -> object:
        return gradients(gdn_ops.chunk_gated_delta_rule(q, k, v, g, beta)[0])

    def peer() -> object:
        return gradients(theirs(repeated(q, HV), repeated(k, HV), v, g, beta)[0])

    return {"ours": ours, "transformers": peer}


def _speed(dtype: torch.dtype, rounds: int) -> Row:
    samples = interleaved(_steps(dtype), rounds=rounds)
    medians = {f"{n} ms": f"{1e3 * sorted(s)[len(s) // 2]:.3g}" for n, s in samples.items()}
    name = str(dtype).removeprefix("torch.")
    return Row(
        f"CPU forward and backward B1 T{T} H16/HV32 D128 {name}",
        ratio(samples["transformers"], samples["ours"]), "x transformers", 3.5, detail=medians,
    )  # fmt: skip


def _peak(dtype: torch.dtype, contender: str) -> float:
    """Return by how many bytes the memory of the process grows during a step, at its peak."""
    step = _steps(dtype)[contender]
    for _ in range(SETTLED):
        step()
    _release_memory()
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    step()
    return _status("VmHWM") - before


def _release_memory() -> None:
    """Return freed memory to the system, so that it does not hide the memory of the step."""
    import ctypes

    ctypes.CDLL("libc.so.6").malloc_trim(0)


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return float(line.split()[1]) * 1024
    raise LookupError(field)


def _memory(ours: float, theirs: float, dtype: torch.dtype) -> Row:
    name = str(dtype).removeprefix("torch.")
    return Row(
        f"peak memory of it, {name}", ours / theirs, "of transformers'", 0.5, most=True,
        detail={"ours MB": f"{ours / 1e6:.0f}", "transformers MB": f"{theirs / 1e6:.0f}"},
    )  # fmt: skip


def rows(rounds: int) -> list[Row]:
    """Measure time and memory in fp32 and bf16, each in a new process."""
    spawn = multiprocessing.get_context("spawn")

    def alone(function: Callable[[], Any]) -> Any:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(function).result()

    found: list[Row] = []
    for dtype in (torch.float32, torch.bfloat16):
        found.append(alone(partial(_speed, dtype, rounds)))
        peaks = [alone(partial(_peak, dtype, name)) for name in ("ours", "transformers")]
        found.append(_memory(peaks[0], peaks[1], dtype))
    return found
