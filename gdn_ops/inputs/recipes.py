"""Recipes: the distributions of gates, keys and writing strengths in random inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, sqrt

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

STRONGEST_RATE = 16.0
SMALLEST_DT, LARGEST_DT = 1e-3, 1e-1
CLOSED = -200.0
"""A raw gate whose softplus is exactly 0 in float32."""


@dataclass(frozen=True)
class Recipe:
    """The distributions of a call's inputs.

    Args:
        gate: a name in ``GATES``.
        cosine: expected cosine between two keys of a head; with 0 they are nearly orthogonal.
        beta: a name in ``BETAS``.
        skipped: number of sequences without a slot, in a call on a pool.
    """

    gate: str = "model"
    cosine: float = 0.0
    beta: str = "sigmoid"
    skipped: int = 0


@dataclass(frozen=True)
class RawGate:
    """The parts of g = -A softplus(a + dt_bias): a [B, T, HV], A and dt_bias [HV].

    For a vector gate a is [B, T, HV, K] and dt_bias [HV, K].
    """

    a: Tensor
    A: Tensor
    dt_bias: Tensor


def uniform(generator: Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Float32, uniform in low..high, on the generator's device."""
    x = torch.rand(shape, generator=generator, device=generator.device)
    return low + (high - low) * x


def normal(generator: Generator, *shape: int) -> Tensor:
    """Float32, standard normal, on the generator's device."""
    return torch.randn(shape, generator=generator, device=generator.device)


def filled(generator: Generator, value: float, *shape: int) -> Tensor:
    """Float32, every element equal to ``value``, on the generator's device."""
    return torch.full(shape, value, device=generator.device)


def unit_rows(generator: Generator, *shape: int, cosine: float = 0.0) -> Tensor:
    """[B, T, heads, D] unit vectors; ``cosine`` is expected between any two of a head."""
    x = normal(generator, *shape)
    if cosine:
        shared = normal(generator, 1, 1, *shape[2:])
        x = sqrt(cosine) * shared + sqrt(1 - cosine) * x
    return normalize(x, dim=-1)


def _model(generator: Generator, B: int, T: int, HV: int, *channels: int) -> RawGate:
    """As layers initialize them; the first of four or more keeps all, the last little."""
    A = uniform(generator, HV, high=STRONGEST_RATE)
    dt = uniform(generator, HV, *channels, low=log(SMALLEST_DT), high=log(LARGEST_DT)).exp()
    dt_bias = dt + (-torch.expm1(-dt)).log()  # the inverse of softplus
    if HV >= 4:
        A[0], A[-1], dt_bias[-1] = 0.0, STRONGEST_RATE, 2.0
    return RawGate(normal(generator, B, T, HV, *channels), A, dt_bias)


def _open(generator: Generator, B: int, T: int, HV: int, *channels: int) -> RawGate:
    """Log decays of exactly 0: the state keeps everything."""
    a = normal(generator, B, T, HV, *channels)
    return RawGate(a, filled(generator, 0.0, HV), filled(generator, 0.0, HV, *channels))


def _strong(generator: Generator, B: int, T: int, HV: int, *channels: int) -> RawGate:
    """Log decays of -50 to -1000 at every token."""
    low, high = 50 / STRONGEST_RATE, 1000 / STRONGEST_RATE
    a = uniform(generator, B, T, HV, *channels, low=low, high=high)
    A, dt_bias = filled(generator, STRONGEST_RATE, HV), filled(generator, 0.0, HV, *channels)
    return RawGate(a, A, dt_bias)


def _resetting(generator: Generator, B: int, T: int, HV: int, *channels: int) -> RawGate:
    """Log decays of exactly 0 for half of the tokens; one in 32 tokens nearly resets the state."""
    gate = _model(generator, B, T, HV, *channels)
    draw = uniform(generator, B, T, HV, *channels)
    a = torch.where(draw < 1 / 2, CLOSED, gate.a)
    a = torch.where(draw > 31 / 32, 3.0 - gate.dt_bias, a)
    return RawGate(a, gate.A.clamp(min=STRONGEST_RATE / 2), gate.dt_bias)


def _sigmoid(generator: Generator, B: int, T: int, HV: int) -> Tensor:
    return normal(generator, B, T, HV).sigmoid()


def _near_two(generator: Generator, B: int, T: int, HV: int) -> Tensor:
    """The largest values that ``allow_neg_eigval`` gives: I - beta k k^T is nearly a reflection."""
    return uniform(generator, B, T, HV, low=1.9, high=2.0)


GATES: dict[str, Callable[..., RawGate]] = {
    "model": _model,
    "open": _open,
    "strong": _strong,
    "resetting": _resetting,
}
BETAS: dict[str, Callable[[Generator, int, int, int], Tensor]] = {
    "sigmoid": _sigmoid,
    "near two": _near_two,
}
