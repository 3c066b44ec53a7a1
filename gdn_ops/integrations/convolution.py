"""The short convolutions of transformers' layers on the CPU.

transformers convolves with conv1d, which copies its input row by row and is slow if each channel
has its own weights: a prefill of Qwen3.5 spends as long in it as in the gated delta rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gdn_ops.errors import UnsupportedProblem
from gdn_ops.ops.causal_convolution import causal_convolution

Function = Callable[..., Tensor]
ACTIVATIONS = (None, "silu", "swish")
PACKED = ("cu_seqlens", "seq_idx")
"""Arguments that cut a row into sequences."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    """Convolve whole sequences, as ``causal_conv1d_fn`` does.

    Args:
        x: [B, D, T].
        weight: [D, W]; tap W-1 is for the newest token.
        bias: [D].
        activation: None, ``silu`` or ``swish``.

    Returns:
        [B, D, T] in the dtype of x. The channels of a token are side by side in memory, so that
        heads need no copy.
    """
    y = causal_convolution(x.mT.to(weight.dtype), weight, bias, silu=activation is not None)
    return y.mT.to(x.dtype)


def update(
    x: Tensor, state: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None
) -> Tensor:
    """Convolve the newest tokens and put them into the state, as ``causal_conv1d_update`` does.

    Args:
        x: [B, D, T].
        state: [B, D, S], the tokens before it, oldest first; it is written.
        weight, bias, activation: as of ``convolve``.

    Returns:
        [B, D, T] in the dtype of x.
    """
    T, taps = x.shape[2], weight.shape[1]
    tokens = torch.cat([state, x], dim=2)
    state.copy_(tokens[:, :, T:])
    tokens = tokens.to(weight.dtype)
    if T > 1 or tokens.shape[2] < taps:
        return convolve(tokens, weight, bias, activation)[:, :, -T:].to(x.dtype)
    wide = torch.promote_types(weight.dtype, torch.float32)
    y = (tokens[:, :, -taps:].to(wide) * weight.to(wide)).sum(2, keepdim=True)
    if bias is not None:
        y = y + bias[:, None].to(wide)
    if activation is not None:
        y = F.silu(y)
    return y.to(x.dtype)


def served(x: Tensor, activation: str | None, more: Mapping[str, Any]) -> bool:
    """Whether a call is one of those above: on the CPU, with SiLU or nothing, and not packed."""
    packed = any(more.get(name) is not None for name in PACKED)
    return x.device.type == "cpu" and activation in ACTIVATIONS and not packed


def check_served(x: Tensor, activation: str | None, more: Mapping[str, Any]) -> None:
    """Refuse what ``served`` denies.

    Raises:
        UnsupportedProblem: another device, activation, or packed sequences.
    """
    if not served(x, activation, more):
        packed = [name for name in PACKED if more.get(name) is not None]
        raise UnsupportedProblem(
            f"the convolution was called on {x.device.type} with activation {activation!r}"
            f"{f' and {packed[0]}' if packed else ''}; this one runs on the CPU, with silu or no "
            "activation and one sequence per row. Leave it out of the mapping."
        )


def causal_conv1d_fn(original: Function) -> Function:
    """Replace transformers' ``causal_conv1d_fn`` for the calls that are served here."""

    @wraps(original)
    def replaced(
        hidden_states: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        activation: str | None = None,
        **more: Any,
    ) -> Tensor:
        if served(hidden_states, activation, more):
            return convolve(hidden_states, weight, bias, activation)
        return original(hidden_states, weight, bias, activation, **more)

    return replaced


def causal_conv1d_update(original: Function) -> Function:
    """Replace transformers' ``causal_conv1d_update`` for the calls that are served here."""

    @wraps(original)
    def replaced(
        hidden_states: Tensor,
        conv_state: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        activation: str | None = None,
        **more: Any,
    ) -> Tensor:
        if served(hidden_states, activation, more):
            return update(hidden_states, conv_state, weight, bias, activation)
        return original(hidden_states, conv_state, weight, bias, activation, **more)

    return replaced
