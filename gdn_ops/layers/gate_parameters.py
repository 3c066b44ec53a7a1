"""Initial values of a scalar gate's parameters: the decay rates and time steps of Mamba-2."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def initial_A_log(heads: int, low: float = 1e-4, high: float = 16.0) -> nn.Parameter:
    """log U(low, high) [heads], the log of the decay rates; ``low`` > 0 avoids log(0)."""
    return _undecayed(torch.empty(heads).uniform_(low, high).log())


def initial_dt_bias(heads: int) -> nn.Parameter:
    """softplus^-1(dt) [heads] with log dt uniform between log 0.001 and log 0.1."""
    low, high = math.log(1e-3), math.log(0.1)
    dt = torch.empty(heads).uniform_(low, high).exp()
    return _undecayed(dt + torch.log(-torch.expm1(-dt)))


def _undecayed(x: Tensor) -> nn.Parameter:
    parameter = nn.Parameter(x)
    parameter._no_weight_decay = True  # type: ignore[attr-defined]  # training code reads it
    return parameter
