"""What a fused kernel does to its raw inputs before the rule, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def l2norm(x: Tensor, eps: float = 1e-6) -> Tensor:
    """Return x / sqrt(sum(x^2) + eps) over the last dim, as ``use_qk_l2norm_in_kernel``."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + eps)


def log_decay(a: Tensor, A_log: Tensor, dt_bias: Tensor | None = None) -> Tensor:
    """Return g = -exp(A_log) softplus(a + dt_bias), as ``use_gate_in_kernel`` (arXiv 2405.21060).

    Args:
        a: [B, T, HV], the raw gate, or [B, T, HV, K] with a value a key channel.
        A_log: [HV].
        dt_bias: [HV], or [HV, K] beside a gate a channel, or None.

    Returns:
        The shape of ``a``, at most 0, in the widest dtype of the three.
    """
    if a.dim() == 4 and A_log.dim() == 1:
        A_log = A_log.unsqueeze(-1)
    x = a if dt_bias is None else a + dt_bias
    # PyTorch's default threshold of 20 drops exp(-20), which float64 would show
    return -A_log.exp() * F.softplus(x, threshold=40.0)


def bounded_log_decay(
    a: Tensor, A_log: Tensor, dt_bias: Tensor | None, lower_bound: float
) -> Tensor:
    """Return g = lower_bound sigmoid(exp(A_log) (a + dt_bias)), KDA's gate with a lower bound.

    Args:
        a: [B, T, HV, K], the raw gate.
        A_log: [HV]; zeros for lower_bound sigmoid(a + dt_bias).
        dt_bias: [HV, K] or None.
        lower_bound: the lowest log decay, below 0.

    Returns:
        The shape of ``a``, from ``lower_bound`` to 0, in the widest dtype of the three.
    """
    x = a if dt_bias is None else a + dt_bias
    return lower_bound * torch.sigmoid(A_log.exp().unsqueeze(-1) * x)


def write_strength(b: Tensor, *, allow_neg_eigval: bool = False) -> Tensor:
    """Return beta = sigmoid(b), as ``use_beta_sigmoid_in_kernel``.

    ``allow_neg_eigval`` doubles it, so that I - beta k k^T may flip the sign along k (arXiv
    2411.12537).
    """
    return torch.sigmoid(b) * 2 if allow_neg_eigval else torch.sigmoid(b)
