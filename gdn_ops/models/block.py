"""Block: one layer of a stack, a token mixer and an MLP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from gdn_ops.layers import (
    DeltaNet,
    DeltaNetCache,
    GatedDeltaNet,
    GatedLinearAttention,
    Mamba2,
    SlidingWindowAttention,
    SwiGLU,
)
from gdn_ops.models.config import HybridConfig


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)).

    Args:
        config: the sizes of the stack.
        layer_idx: the index of this layer in the stack, and the key of its state in a cache.
    """

    def __init__(self, config: HybridConfig, layer_idx: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.mixer_norm = nn.RMSNorm(width, eps=config.norm_eps)
        self.mixer = BUILDERS[config.mixers[layer_idx]](config, layer_idx)
        self.mlp_norm = nn.RMSNorm(width, eps=config.norm_eps)
        self.mlp = SwiGLU(width, config.intermediate_size or 3 * width)

    def forward(
        self,
        x: Tensor,
        attention_mask: Tensor | None = None,
        cache: DeltaNetCache | None = None,
        cu_seqlens: Tensor | None = None,
    ) -> Tensor:
        """x [B, T, hidden_size] to the same; the other arguments are passed to the mixer."""
        normed = self.mixer_norm(x)
        x = x + self.mixer(normed, attention_mask, cache, cu_seqlens=cu_seqlens)[0]
        y: Tensor = x + self.mlp(self.mlp_norm(x))
        return y


def _gdn(c: HybridConfig, layer_idx: int) -> nn.Module:
    return GatedDeltaNet(
        c.hidden_size, expand_v=1, head_dim=c.head_dim, num_heads=c.num_heads,
        layer_idx=layer_idx, **_common(c),
    )  # fmt: skip


def _deltanet(c: HybridConfig, layer_idx: int) -> nn.Module:
    expand = c.num_heads * c.head_dim / c.hidden_size
    return DeltaNet(
        hidden_size=c.hidden_size, expand_k=expand, expand_v=expand, num_heads=c.num_heads,
        use_gate=True, layer_idx=layer_idx, **_common(c),
    )  # fmt: skip


def _mamba2(c: HybridConfig, layer_idx: int) -> nn.Module:
    return Mamba2(
        c.hidden_size, num_heads=c.num_heads, head_dim=c.head_dim, state_size=c.head_dim,
        expand=c.num_heads * c.head_dim / c.hidden_size, n_groups=c.num_heads,
        conv_kernel=c.conv_size, norm_eps=c.norm_eps, layer_idx=layer_idx,
    )  # fmt: skip


def _swa(c: HybridConfig, layer_idx: int) -> nn.Module:
    return SlidingWindowAttention(
        c.hidden_size, c.num_heads, window_size=c.window_size, layer_idx=layer_idx
    )


def _gla(c: HybridConfig, layer_idx: int) -> nn.Module:
    expand = c.num_heads * c.head_dim / c.hidden_size
    return GatedLinearAttention(
        hidden_size=c.hidden_size, expand_k=expand, expand_v=expand, num_heads=c.num_heads,
        norm_eps=c.norm_eps, layer_idx=layer_idx,
    )  # fmt: skip


def _attention(c: HybridConfig, layer_idx: int) -> nn.Module:
    return SlidingWindowAttention(c.hidden_size, c.num_heads, window_size=None, layer_idx=layer_idx)


def _common(c: HybridConfig) -> dict[str, Any]:
    return {"conv_size": c.conv_size, "norm_eps": c.norm_eps}


BUILDERS: dict[str, Callable[[HybridConfig, int], nn.Module]] = {
    "gdn": _gdn,
    "deltanet": _deltanet,
    "mamba2": _mamba2,
    "gla": _gla,
    "swa": _swa,
    "attention": _attention,
}
