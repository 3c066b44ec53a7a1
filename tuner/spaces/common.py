"""The common problems: a few of each kind of call, so that every common call has one near.

A call runs on the winner of the nearest problem with its op, rule, head dims and dtype
(``gdn_ops.dispatch.distance``). So each of these needs a problem, and sizes may be far apart: a
factor of 8 in tokens or sequences, and of 4 in heads. Where heads are few, they stand for a model
whose heads are split among devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.tuner.spaces.problems import KDA, decode, pool, prefill, training

QWEN: dict[str, Any] = {"H": 16, "HV": 32}
"""Qwen3-Next; Qwen3.5 of 4B, 9B and 35B."""
SPLIT: dict[str, Any] = {"H": 4, "HV": 8}
"""The part of a Qwen3.5 model on one of several devices."""
OLMO: dict[str, Any] = {"H": 30, "HV": 30, "K": 96, "V": 192}
"""OLMo hybrid, whose beta is at most 2."""
DELTANET: dict[str, Any] = {"rule": Rule("none"), "H": 16, "HV": 16}
LIGHTNING: dict[str, Any] = {"rule": Rule("scalar", False), "H": 32, "HV": 32}
"""Simple GLA, RetNet and lightning attention."""
MAMBA2: dict[str, Any] = {
    "rule": Rule("scalar", False), "H": 1, "HV": 64, "K": 128, "V": 64, "dtype": "fp32",
}  # fmt: skip
"""``gdn_ops.layers.Mamba2`` computes the recurrence in fp32."""
SHAPES: tuple[dict[str, Any], ...] = (
    {"H": 16, "HV": 16, "K": 64, "V": 64},
    {"H": 8, "HV": 8, "K": 128, "V": 256},
    {"H": 8, "HV": 8, "K": 256, "V": 256},
    OLMO,
)
"""Head dims of Gated DeltaNet besides 128: the papers', and flash-linear-attention's defaults."""


def common_problems() -> tuple[Problem, ...]:
    """The problems, the most common kinds first."""
    return (
        *_qwen(), *_serving(), *_kda(),
        *(problem for shape in SHAPES for problem in _each_op(shape)),
        *_each_op(DELTANET), *_each_op(LIGHTNING), *_each_op(MAMBA2),
    )  # fmt: skip


def _qwen() -> Iterator[Problem]:
    for tokens in (1024, 8192, 65536):
        yield prefill(tokens=tokens, **QWEN)
    for tokens in (1024, 8192, 65536):
        yield prefill(tokens=tokens, **SPLIT)
    yield prefill(tokens=8192, sequences=8, varlen=True, **QWEN)
    yield prefill(tokens=65536, sequences=64, varlen=True, **QWEN)
    yield prefill(tokens=8192, sequences=8, varlen=True, **SPLIT)
    for tokens in (8192, 65536):
        yield training(tokens=tokens, **QWEN)
    yield training(tokens=16384, sequences=8, varlen=True, **QWEN)
    yield training(tokens=8192, **SPLIT)
    # one value head per key head needs no sum over heads, so the stages are others
    yield training(tokens=8192, H=16, HV=16)
    for heads in (QWEN, SPLIT):
        for sequences in (1, 8, 64, 512):
            yield decode(sequences=sequences, **heads)


def _serving() -> Iterator[Problem]:
    for state in ("bf16", "fp32"):
        for sequences in (1, 8, 64, 512):
            yield pool(sequences=sequences, state_dtype=state, **QWEN)
        yield pool(sequences=16, drafts=3, state_dtype=state, **QWEN)
    yield pool(sequences=64, **SPLIT)


def _kda() -> Iterator[Problem]:
    for tokens in (1024, 8192, 65536):
        yield prefill(tokens=tokens, **KDA)
    yield prefill(tokens=8192, **{**KDA, "H": 8, "HV": 8})
    yield prefill(tokens=8192, sequences=8, varlen=True, **KDA)
    yield training(tokens=8192, **KDA)
    for sequences in (1, 8, 64, 512):
        yield decode(sequences=sequences, **KDA)
    yield decode(sequences=8, **{**KDA, "H": 8, "HV": 8})


def _each_op(shape: dict[str, Any]) -> Iterator[Problem]:
    """A prefill, the gradients of a training batch, and small and large decode steps."""
    yield prefill(tokens=8192, **shape)
    yield training(tokens=8192, **shape)
    for sequences in (1, 32):
        yield decode(sequences=sequences, **shape)
