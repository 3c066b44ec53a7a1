"""What the time of a variant's calls consists of, by kind of operator or by GPU kernel."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from statistics import median
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.bind import bind
from gdn_ops.tuner.measure.calls import calls_of
from gdn_ops.tuner.measure.measurement import run_of
from gdn_ops.tuner.measure.timers import timer_of

PRODUCTS = "products"
OUTSIDE = "views, allocation and Python"
KINDS = {
    PRODUCTS: "mm bmm baddbmm addmm addbmm mv addmv dot",
    "triangular solves": "linalg_solve_triangular triangular_solve",
    "copies and conversions": (
        "copy _to_copy clone cat stack constant_pad_nd index index_select index_copy index_put "
        "gather scatter repeat repeat_interleave fill zero eye"
    ),
    "elementwise and sums": (
        "add sub rsub mul div neg addcmul addcdiv exp exp2 log softplus sigmoid sqrt rsqrt pow "
        "clamp clamp_min clamp_max round tril triu where masked_fill sum cumsum mean maximum "
        "minimum linalg_vecdot eq lt le gt ge bitwise_not bitwise_and"
    ),
}
"""Names of PyTorch's operators, without a ``_`` at their end, by kind; all others are OUTSIDE."""
KIND = {name: kind for kind, names in KINDS.items() for name in names.split()}


@dataclass(frozen=True)
class Part:
    """A part of a call's time.

    Args:
        name: a kind of operator, or a GPU kernel.
        seconds: per call.
        calls: operators or kernels per call; 0 for what has no number.
        flops: floating-point operations per call, of products only.
    """

    name: str
    seconds: float
    calls: int
    flops: int = 0


def operator_profile(
    problem: Problem, variant: Variant, *, device: torch.device, threads: int, rounds: int
) -> list[Part]:
    """Profile a variant's calls on random inputs with torch.profiler, the longest part first.

    On a CPU the parts are the kinds of ``KINDS`` and the rest; on a GPU, kernels. Seconds are the
    median over the calls. The profiler adds about a microsecond to each operator, so small calls
    take longer here than without it.

    Args:
        rounds: profiled calls, after two that are not.

    Raises:
        GdnError: the variant cannot be rendered, compiled or launched.
    """
    # the profiler of some builds of PyTorch logs each start and stop on standard error
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    timer = timer_of(device, threads=threads)
    gpu = device.type != "cpu"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    with torch.no_grad():
        calls = calls_of(problem, timer, device)
        run = run_of(bind(problem, variant), calls)
        run(0)
        run(0)
        cpp = any(KERNELS[name].cpp for name, _ in variant.stages if not variant.provider)
        outside = f"C++, {OUTSIDE}" if cpp else OUTSIDE
        found = []
        for i in range(rounds):
            _wait(device)
            with profile(activities=activities, record_shapes=not gpu) as profiler:
                start = perf_counter()
                run(i % len(calls))
                _wait(device)
                seconds = perf_counter() - start
            found.append(_kernels(profiler) if gpu else _kinds(profiler, seconds, outside))
    return _medians(found)


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.cuda.synchronize(device)


def _kinds(profiler: profile, seconds: float, outside: str) -> dict[str, Part]:
    """Times of kinds of operators on a CPU, without what operators call, in a call of seconds.

    outside: the name of the rest.
    """
    spent: Counter[str] = Counter()
    number: Counter[str] = Counter()
    flops = 0
    for event in profiler.events() or ():  # type: ignore[no-untyped-call]
        name = event.name.removeprefix("aten::").removesuffix("_")
        kind = KIND.get(name)
        if kind is None or not event.name.startswith("aten::"):
            continue
        spent[kind] += event.self_cpu_time_total * 1e-6
        number[kind] += 1
        if kind == PRODUCTS:
            flops += product_flops(event.input_shapes)
    parts = {
        kind: Part(kind, spent[kind], number[kind], flops if kind == PRODUCTS else 0)
        for kind in spent
    }
    rest = max(0.0, seconds - sum(spent.values()))
    return {**parts, outside: Part(outside, rest, 0)}


def product_flops(shapes: Sequence[Sequence[int]]) -> int:
    """Operations of a product, from the shapes of its operator's tensors: the last two of its rank.

    A first tensor to which the product is added, and the tensor that is written, have the shape of
    the product: the operands are the first pair of which one can multiply the other.
    """
    tensors = [shape for shape in shapes if len(shape) >= 2]
    for a, b in pairwise(tensors):
        if a[:-2] == b[:-2] and a[-1] == b[-2]:
            return 2 * prod(a) * b[-1]
    return 0


def _kernels(profiler: profile) -> dict[str, Part]:
    """Times of the kernels on a GPU."""
    return {
        event.key: Part(event.key, event.self_device_time_total * 1e-6, event.count)
        for event in profiler.key_averages()
        if event.device_type.name != "CPU" and event.self_device_time_total
    }


def _medians(found: Sequence[dict[str, Part]]) -> list[Part]:
    names = {name: None for parts in found for name in parts}
    rows = []
    for name in names:
        own = [parts[name] for parts in found if name in parts]
        seconds = median([*(p.seconds for p in own), *[0.0] * (len(found) - len(own))])
        rows.append(Part(name, seconds, own[-1].calls, own[-1].flops))
    return sorted(rows, key=lambda part: -part.seconds)
