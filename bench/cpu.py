"""CPU prefill and decode: gdn_ops against the PyTorch fallbacks of transformers."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch
from transformers.models.qwen3_next import modeling_qwen3_next as qwen

import gdn_ops
from bench.inputs import layer_inputs, repeated
from bench.interleave import interleaved, ratio
from bench.rows import Row
from gdn_ops.codegen.target import Target
from gdn_ops.dispatch.choice import choose, stored_winners
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.reference import recurrent_reference

SECONDS = 5.0
"""Seconds that a row is sampled for, at least."""


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return transformers' PyTorch function without the wrapper that loads kernels from the hub."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def error(out: torch.Tensor, reference: torch.Tensor) -> float:
    """Return RMS(reference - out) / (RMS(reference) + 1e-8)."""
    wide = out.double()
    return float(
        (reference - wide).square().mean().sqrt() / (reference.square().mean().sqrt() + 1e-8)
    )


def _prefill(T: int, dtype: torch.dtype, bar: float, rounds: int) -> list[Row]:
    """One prompt of T tokens with its final state: H = 16, HV = 32, K = V = 128."""
    x = layer_inputs(B=1, T=T, dtype=dtype)
    q, k, v, g, beta = (x[name] for name in ("q", "k", "v", "g", "beta"))
    theirs = plain(qwen.torch_chunk_gated_delta_rule)
    HV = v.shape[2]

    def ours() -> tuple[torch.Tensor, torch.Tensor | None]:
        return gdn_ops.chunk_gated_delta_rule(q, k, v, g, beta, output_final_state=True)

    def peer() -> Any:
        return theirs(repeated(q, HV), repeated(k, HV), v, g, beta, output_final_state=True)

    with torch.no_grad():
        samples = interleaved({"ours": ours, "transformers": peer}, rounds=rounds, seconds=SECONDS)
        o, ht = ours()
        wide = [z.double() for z in (q, k, v, g, beta)]
        o_ref, ht_ref = recurrent_reference(*wide)
    assert ht is not None
    name = str(dtype).removeprefix("torch.")
    limit = 1e-5 if dtype == torch.float32 else 5e-3
    worst = max(error(o, o_ref), error(ht, ht_ref))
    return [
        Row(f"CPU prefill B1 T{T} H16/HV32 D128 {name}",
            ratio(samples["transformers"], samples["ours"]), "x transformers", bar,
            detail=_detail(samples, q=q, k=k, v=v, g=g, beta=beta)),
        Row(f"error of it, T{T} {name}", worst, "RMS", limit, most=True),
    ]  # fmt: skip


def _decode(
    dtype: torch.dtype, bar: float, rounds: int, B: int = 8, H: int = 16, HV: int = 32, D: int = 128
) -> list[Row]:
    """One token of each of B sequences, with initial and final states in fp32."""
    x = layer_inputs(B=B, T=1, dtype=dtype, H=H, HV=HV, K=D, V=D)
    q, k, v, g, beta, h0 = (x[name] for name in ("q", "k", "v", "g", "beta", "h0"))
    theirs = plain(qwen.torch_recurrent_gated_delta_rule)

    def ours() -> object:
        return gdn_ops.fused_recurrent_gated_delta_rule(
            q, k, v, g, beta=beta, initial_state=h0, output_final_state=True
        )

    def peer() -> object:
        return theirs(repeated(q, HV), repeated(k, HV), v, g, beta, h0, True)

    with torch.no_grad():
        samples = interleaved(
            {"ours": ours, "transformers": peer}, rounds=rounds, batch=10, seconds=SECONDS
        )
    name = str(dtype).removeprefix("torch.")
    return [
        Row(f"CPU decode B{B} T1 H{H}/HV{HV} D{D} {name}",
            ratio(samples["transformers"], samples["ours"]), "x transformers", bar,
            detail=_detail(samples, q=q, k=k, v=v, g=g, beta=beta, initial_state=h0)),
    ]  # fmt: skip


def _detail(samples: dict[str, list[float]], **call: torch.Tensor) -> dict[str, Any]:
    explanation = gdn_ops.explain(**call, output_final_state=True)
    medians = {f"{name} ms": f"{statistics.median(s) * 1e3:.3g}" for name, s in samples.items()}
    return {**medians, "variant": str(explanation.variant), "how": explanation.choice.how}


FP32, BF16 = torch.float32, torch.bfloat16


def _defaults(T: int, dtype: torch.dtype, bar: float, rounds: int) -> list[Row]:
    """The same prompt without the stored winners of this kind of CPU, against with them."""
    x = layer_inputs(B=1, T=T, dtype=dtype)
    call = {name: x[name] for name in ("q", "k", "v", "g", "beta")}
    found = gdn_ops.explain(**call, output_final_state=True).choice
    other = choose(found.problem, found.target, _without(found.target))

    def tuned() -> object:
        return gdn_ops.chunk_gated_delta_rule(**call, output_final_state=True)

    def default() -> object:
        with gdn_ops.using(other.variant):
            return tuned()

    with torch.no_grad():
        samples = interleaved({"tuned": tuned, "default": default}, rounds=rounds, seconds=SECONDS)
    name = str(dtype).removeprefix("torch.")
    medians = {f"{n} ms": f"{statistics.median(s) * 1e3:.3g}" for n, s in samples.items()}
    return [
        Row(f"CPU prefill B1 T{T} {name} without winners for this CPU",
            ratio(samples["tuned"], samples["default"]), "x tuned", bar,
            detail={**medians, "variant": str(other.variant), "how": other.how}),
    ]  # fmt: skip


def _without(target: Target) -> WinnerTable:
    """The stored winners but those of a target."""
    others = (w for w in stored_winners(target).winners if w.target != target.name)
    return WinnerTable(tuple(others))


CASES: tuple[Callable[[int], list[Row]], ...] = (
    partial(_prefill, 2048, FP32, 4.0),
    partial(_prefill, 512, FP32, 2.5),
    partial(_prefill, 2048, BF16, 5.0),
    partial(_prefill, 512, BF16, 4.0),
    partial(_defaults, 2048, FP32, 0.85),
    partial(_defaults, 2048, BF16, 0.85),
    partial(_decode, FP32, 1.5),
    partial(_decode, BF16, 1.5),
    partial(_decode, FP32, 2.0, B=1),
    partial(_decode, BF16, 2.0, B=1),
    partial(_decode, FP32, 1.2, B=1, H=8, HV=8),
    partial(_decode, FP32, 1.2, B=1, H=4, HV=4, D=32),
    partial(_decode, BF16, 1.2, B=1, H=4, HV=4, D=32),
)


def rows(rounds: int) -> list[Row]:
    """Measure all CPU rows, each in a new process.

    Earlier work in a process changes how its allocator serves large tensors, which changes the
    time of transformers by a factor of two and more.
    """
    spawn = multiprocessing.get_context("spawn")
    found: list[Row] = []
    for case in CASES:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            found += pool.submit(case, rounds).result()
    return found
