"""SlidingWindowAttention: softmax attention over the last tokens, or all, for hybrid stacks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput
from gdn_ops.layers.cache import WindowState
from gdn_ops.layers.checks import check_counts, check_positive
from gdn_ops.layers.packed_sequences import SequenceRows, checked_offsets
from gdn_ops.layers.rotary_embedding import rotate
from gdn_ops.layers.token_mixer import TokenMixer


class SlidingWindowAttention(TokenMixer[WindowState]):
    """Attend to a token and the window - 1 tokens before it, with rotary positions.

    The state dict is that of FLA's ``Attention`` and of Llama's projections. It runs PyTorch's
    ``scaled_dot_product_attention`` with a mask, so prefill costs as much as full attention; a
    decode step reads only the window. A compiled call with ``cu_seqlens`` costs as much as N rows
    of T tokens, because the length of the longest sequence is not known while tracing.

    Args:
        hidden_size: size of the input and output.
        num_heads: query heads; the head dim is hidden_size / num_heads and must be even.
        num_kv_heads: key/value heads, a divisor of ``num_heads``; default: ``num_heads``.
        qkv_bias: whether the q, k and v projections have biases.
        window_size: tokens that each token attends to, itself included; None: all before it. The
            state of such a global layer grows with each token.
        rope_theta: base of the rotary wavelengths.
        layer_idx: the key of this layer's state in a cache.

    Raises:
        InvalidInput: a size is not an integer >= 1, or the heads do not divide ``hidden_size``.
    """

    state_type = WindowState

    def __init__(
        self,
        hidden_size: int = 2048,
        num_heads: int = 32,
        num_kv_heads: int | None = None,
        qkv_bias: bool = False,
        window_size: int | None = 2048,
        rope_theta: float = 10000.0,
        layer_idx: int | None = None,
    ) -> None:
        super().__init__(hidden_size, layer_idx)
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        check_counts(num_heads=num_heads, num_kv_heads=num_kv_heads)
        if window_size is not None:
            check_counts(window_size=window_size)
        check_positive(rope_theta=rope_theta)
        _check_geometry(hidden_size, num_heads, num_kv_heads)
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.head_dim = hidden_size // num_heads
        self.window_size, self.rope_theta = window_size, rope_theta
        kv_dim = num_kv_heads * self.head_dim
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=qkv_bias)
        self.k_proj = nn.Linear(hidden_size, kv_dim, bias=qkv_bias)
        self.v_proj = nn.Linear(hidden_size, kv_dim, bias=qkv_bias)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def _mix(
        self,
        x: Tensor,
        state: WindowState | None,
        cu_seqlens: Tensor | None,
        *,
        longest: int,
        recurrent: bool,
        keep: bool,
    ) -> tuple[Tensor, WindowState | None]:
        """Project, rotate, attend and project back; each packed sequence gets its own row."""
        rows = None
        if cu_seqlens is not None:
            rows = SequenceRows.of(checked_offsets(cu_seqlens, x), x.shape[1], longest)
            x = rows.spread(x)
            lengths = rows.lengths
        else:
            lengths = x.new_full(x.shape[:1], x.shape[1], dtype=torch.long)
        o, after = self._attend(x, lengths, state)
        o = self.o_proj(o)
        return o if rows is None else rows.pack(o), after if keep else None

    def _attend(
        self, x: Tensor, lengths: Tensor, state: WindowState | None
    ) -> tuple[Tensor, WindowState]:
        """Attend within each row of x [N, T, D]; what follows ``lengths`` [N] tokens is padding."""
        T = x.shape[1]
        seen = torch.zeros_like(lengths) if state is None else state.seen
        positions = seen[:, None] + torch.arange(T, device=x.device)  # [N, T]
        q, k, v = (
            y.view(*x.shape[:2], y.shape[-1] // self.head_dim, self.head_dim)
            for y in (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        )
        q, k = (rotate(y, positions, self.rope_theta) for y in (q, k))
        kept = 0 if state is None else state.keys.shape[1]
        if state is not None:
            _check_state(state, k)
            k, v = torch.cat([state.keys, k], dim=1), torch.cat([state.values, v], dim=1)
        # Padding follows the tokens of a row, so no token attends to it.
        causal = state is None and self.window_size is None
        visible = None if causal else self._visible(positions, seen, kept)
        o = F.scaled_dot_product_attention(
            q.transpose(1, 2),
            k.transpose(1, 2),
            v.transpose(1, 2),
            attn_mask=visible,
            is_causal=causal,
            enable_gqa=self.num_heads != self.num_kv_heads,
        )
        after = self._after(k, v, kept, seen, lengths)
        return o.transpose(1, 2).flatten(-2), after

    def _visible(self, positions: Tensor, seen: Tensor, kept: int) -> Tensor:
        """[N, 1, T, kept + T]: whether a token at a position [N, T] attends to a key."""
        total = kept + positions.shape[1]
        key_positions = seen[:, None] - kept + torch.arange(total, device=positions.device)
        distance = positions[:, :, None] - key_positions[:, None]
        visible = (distance >= 0) & (key_positions[:, None] >= 0)
        if self.window_size is not None:
            visible &= distance < self.window_size
        return visible[:, None]

    def _after(self, k: Tensor, v: Tensor, kept: int, seen: Tensor, lengths: Tensor) -> WindowState:
        """The last tokens of each row of k and v [N, kept + T, heads, head dim]."""
        size = k.shape[1] if self.window_size is None else min(self.window_size - 1, k.shape[1])
        steps = torch.arange(size, device=k.device)
        index = (kept + lengths[:, None] - size + steps).clamp(min=0)  # [N, size]
        rows = torch.arange(k.shape[0], device=k.device)[:, None]
        return WindowState(k[rows, index], v[rows, index], seen + lengths)


def _check_geometry(hidden_size: int, num_heads: int, num_kv_heads: int) -> None:
    if hidden_size % (2 * num_heads):
        raise InvalidInput(
            f"hidden_size={hidden_size} does not split into num_heads={num_heads} heads of an even "
            "head dim; choose another number of heads."
        )
    if num_heads % num_kv_heads:
        raise InvalidInput(
            f"num_heads={num_heads} is not a multiple of num_kv_heads={num_kv_heads}; "
            "give each key/value head the same number of query heads."
        )


def _check_state(state: WindowState, k: Tensor) -> None:
    heads = k.shape[2:]
    if state.keys.dim() != 4 or state.keys.shape[2:] != heads:
        raise InvalidInput(
            f"the cache holds keys {list(state.keys.shape)}; the layer has key/value heads "
            f"{list(heads)}. Give each layer of the stack its own layer_idx."
        )
