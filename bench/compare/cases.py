"""The cases of the comparison: which calls are timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch


@dataclass(frozen=True)
class Case:
    """One call that all contenders make.

    Args:
        op: ``forward`` (with initial and final state), ``backward`` (its gradients, without the
            forward) or ``decode``.
        sequences: the name of the lengths in tables.
        lengths: the tokens of each sequence; several sequences are packed in one row.
        H, HV: query/key heads and value heads.
        D: head dim of keys and values.
        dtype: dtype of q, k, v.
    """

    op: str
    sequences: str
    lengths: tuple[int, ...]
    H: int
    HV: int
    D: int = 128
    dtype: str = "bf16"

    @property
    def name(self) -> str:
        return f"{self.op} {self.H}/{self.HV} D{self.D} {self.sequences} {self.dtype}"

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    @property
    def packed(self) -> bool:
        return len(self.lengths) > 1 and self.op != "decode"


FORWARD_HEADS = (
    (2, 8), (4, 16), (8, 32), (16, 64), (16, 32), (8, 24), (16, 48), (16, 16), (32, 32),
)  # fmt: skip
"""Head counts of FlashQLA's forward benchmark: Qwen3.5's models, also with tensor parallelism."""

FORWARD_LENGTHS = (
    *((n,) for n in (32768, 16384, 8192, 4096, 2048)),
    *((n, 32768 - n) for n in (28672, 24576, 16384, 8192, 4096)),
    (12288, 4096), (6144, 2048), (4096, 4096), (2048, 6144), (1024, 7168),
    (8192,) * 4, (4096,) * 8, (2048,) * 4, (1024,) * 8,
)  # fmt: skip
"""Its sequence lengths: one sequence, two, and several of the same length."""

BACKWARD_HEADS = ((16, 32), (8, 16), (4, 8), (2, 4))
DECODE_BATCHES = (1, 8, 32, 64, 128, 256)


def forward() -> Iterator[Case]:
    """FlashQLA's forward grid: 171 cases."""
    for H, HV in FORWARD_HEADS:
        for lengths in FORWARD_LENGTHS:
            yield Case("forward", _named(lengths), lengths, H, HV)


def backward() -> Iterator[Case]:
    """FlashQLA's backward grid: 32 cases; packed sequences are cut at random places."""
    for H, HV in BACKWARD_HEADS:
        for tokens in (8192, 32768):
            for count in (1, 2, 4, 8):
                name = f"{tokens // 1024}k x {count}"
                yield Case("backward", name, cut(tokens, count), H, HV)


def decode() -> Iterator[Case]:
    """Decode: one token of each sequence, with states in fp32."""
    for HV in (32, 64):
        for B in DECODE_BATCHES:
            yield Case("decode", f"B{B}", (1,) * B, 16, HV)


def dims() -> Iterator[Case]:
    """Head dims other than 128, which few libraries support."""
    for D in (64, 256):
        for op in ("forward", "backward"):
            for lengths in ((8192,), (1024,) * 8):
                yield Case(op, _named(lengths), lengths, 16, 32, D)


def short() -> Iterator[Case]:
    """A few cases of each op, for a short run."""
    for H, HV in ((16, 32), (2, 8)):
        for lengths in ((32768,), (8192,), (1024,) * 8):
            yield Case("forward", _named(lengths), lengths, H, HV)
    yield Case("backward", "8k x 1", (8192,), 16, 32)
    yield Case("backward", "32k x 4", cut(32768, 4), 8, 16)
    yield Case("decode", "B64", (1,) * 64, 16, 32)


def cpu() -> Iterator[Case]:
    """Cases that a CPU runs within seconds."""
    for dtype in ("fp32", "bf16"):
        yield Case("forward", "512", (512,), 16, 32, dtype=dtype)
        yield Case("forward", "2048", (2048,), 16, 32, dtype=dtype)
        yield Case("backward", "512", (512,), 16, 32, dtype=dtype)
        yield Case("decode", "B8", (1,) * 8, 16, 32, dtype=dtype)


def tiny() -> Iterator[Case]:
    """Cases that take about a second, to test the benchmark itself."""
    for op, lengths in (("forward", (40,)), ("forward", (17, 23)), ("backward", (40,))):
        yield Case(op, _named(lengths), lengths, 1, 2, 16, "fp32")
    yield Case("decode", "B2", (1, 1), 1, 2, 16, "fp32")


GRIDS: dict[str, Callable[[], Iterator[Case]]] = {
    grid.__name__: grid for grid in (forward, backward, decode, dims, short, cpu, tiny)
}


def cut(tokens: int, count: int, *, seed: int = 42) -> tuple[int, ...]:
    """Return the lengths of ``count`` sequences with ``tokens`` tokens in total, cut at random."""
    if count == 1:
        return (tokens,)
    generator = torch.Generator().manual_seed(seed)
    places = torch.randperm(tokens - 1, generator=generator, dtype=torch.int32)[: count - 1] + 1
    edges = [0, *sorted(places.tolist()), tokens]
    return tuple(b - a for a, b in pairwise(edges))


def _named(lengths: tuple[int, ...]) -> str:
    if len(lengths) == 1:
        return str(lengths[0])
    if len(set(lengths)) == 1 and len(lengths) > 2:
        return f"{len(lengths)} x {lengths[0]}"
    return " + ".join(map(str, lengths))
