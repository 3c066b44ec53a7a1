"""DeltaNet: the token mixer of arXiv 2406.06484, on the tuned ops."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.layers.cache import LayerState
from gdn_ops.layers.checks import check_counts, check_positive
from gdn_ops.layers.gated_rms_norm import GatedRMSNorm
from gdn_ops.layers.short_convolution import ShortConvolution, convolve_each
from gdn_ops.layers.token_mixer import TokenMixer
from gdn_ops.ops import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule

QK_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "relu": F.relu,
    "elu": lambda x: F.elu(x) + 1,
    "identity": lambda x: x,
}
QK_NORMS = ("l2", "sum")


class DeltaNet(TokenMixer[LayerState]):
    """Mix tokens with the delta rule; the state dict is that of FLA's ``DeltaNet``.

    q, k = norm(activation(conv(W x))), v = SiLU(conv(W x)), beta = sigmoid(W_b x), then
    o_proj(norm(delta_rule(q, k, v, beta))), the norm gated by silu(W_g x) with ``use_gate``.

    Args:
        mode: ``chunk`` or ``fused_recurrent``, the op that is called for several tokens when no
            gradient is recorded.
        hidden_size: size of the input and output.
        expand_k, expand_v: total width of the keys and of the values, divided by ``hidden_size``.
        num_heads: heads, H; K = hidden_size * expand_k / H and V likewise.
        use_beta: whether beta, the writing strength, is learnt; it is 1 otherwise.
        use_gate: whether the output is multiplied by a gate.
        use_short_conv: whether q, k and v go through a short convolution.
        conv_size: taps (kernel size) of the short convolutions.
        conv_bias: whether the short convolutions have a bias.
        allow_neg_eigval: double beta, so that eigenvalues of the transition matrix can be negative
            (arXiv 2411.12537).
        layer_idx: the key of this layer's state in a cache.
        qk_activation: ``silu``, ``relu``, ``elu`` (ELU + 1) or ``identity``.
        qk_norm: ``l2`` scales q and k to length 1, ``sum`` to a sum of 1.
        norm_eps: eps of the output norm.

    Raises:
        InvalidInput: a size is not an integer >= 1, or a head dim would not be an integer.
        UnknownName: the mode, activation or norm is unknown.
    """

    def __init__(
        self,
        mode: str = "chunk",
        hidden_size: int = 1024,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        num_heads: int = 4,
        use_beta: bool = True,
        use_gate: bool = False,
        use_short_conv: bool = True,
        conv_size: int = 4,
        conv_bias: bool = False,
        allow_neg_eigval: bool = False,
        layer_idx: int | None = None,
        qk_activation: str = "silu",
        qk_norm: str = "l2",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(hidden_size, layer_idx, mode)
        if qk_activation not in QK_ACTIVATIONS:
            raise UnknownName.of("qk activation", qk_activation, QK_ACTIVATIONS)
        if qk_norm not in QK_NORMS:
            raise UnknownName.of("qk norm", qk_norm, QK_NORMS)
        check_counts(num_heads=num_heads, conv_size=conv_size)
        check_positive(expand_k=expand_k, expand_v=expand_v)
        self.num_heads = num_heads
        self.head_k_dim = _head_dim("expand_k", hidden_size, expand_k, num_heads)
        self.head_v_dim = _head_dim("expand_v", hidden_size, expand_v, num_heads)
        self.key_dim, self.value_dim = num_heads * self.head_k_dim, num_heads * self.head_v_dim
        self.use_beta, self.use_gate, self.use_short_conv = use_beta, use_gate, use_short_conv
        self.allow_neg_eigval = allow_neg_eigval
        self.qk_activation, self.qk_norm = qk_activation, qk_norm

        self.q_proj = nn.Linear(hidden_size, self.key_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, self.key_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, self.value_dim, bias=False)
        if use_beta:
            self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        if use_short_conv:
            self.q_conv1d = ShortConvolution(self.key_dim, conv_size, bias=conv_bias, silu=False)
            self.k_conv1d = ShortConvolution(self.key_dim, conv_size, bias=conv_bias, silu=False)
            self.v_conv1d = ShortConvolution(self.value_dim, conv_size, bias=conv_bias, silu=False)
        if use_gate:
            self.g_proj = nn.Linear(hidden_size, self.value_dim, bias=False)
        self.o_norm = GatedRMSNorm(self.head_v_dim, eps=norm_eps)
        self.o_proj = nn.Linear(self.value_dim, hidden_size, bias=False)

    def _mix(
        self,
        x: Tensor,
        state: LayerState | None,
        cu_seqlens: Tensor | None,
        *,
        longest: int,
        recurrent: bool,
        keep: bool,
    ) -> tuple[Tensor, LayerState | None]:
        """Project, convolve, run the rule, norm, gate and project back; all [B, T, ...]."""
        (q, k, v), conv = self._qkv(x, None if state is None else state.conv, cu_seqlens)
        beta = self.b_proj(x).sigmoid() if self.use_beta else x.new_ones(*x.shape[:2], q.shape[2])
        rule = fused_recurrent_gated_delta_rule if recurrent else chunk_gated_delta_rule
        o, final_state = rule(
            q=q,
            k=k,
            v=v,
            g=None,
            beta=2 * beta if self.allow_neg_eigval else beta,
            initial_state=None if state is None else state.recurrent,
            output_final_state=keep,
            use_qk_l2norm_in_kernel=self.qk_norm == "l2",
            cu_seqlens=cu_seqlens,
        )
        gate = self.g_proj(x).view(o.shape) if self.use_gate else None
        o = self.o_proj(self.o_norm(o, gate).flatten(-2))
        return o, None if final_state is None else LayerState(final_state, conv)

    def _qkv(
        self, x: Tensor, conv: tuple[Tensor, ...] | None, cu_seqlens: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, ...] | None]:
        """q, k [B, T, H, K] and v [B, T, H, V] for the rule, and the convolutions' states."""
        projected = [self.q_proj(x), self.k_proj(x), self.v_proj(x)]
        if self.use_short_conv:
            layers = (self.q_conv1d, self.k_conv1d, self.v_conv1d)
            projected, conv = convolve_each(layers, projected, conv, cu_seqlens)
        activation = QK_ACTIVATIONS[self.qk_activation]
        heads = (*x.shape[:2], self.num_heads)
        q, k = (activation(y).view(*heads, self.head_k_dim) for y in projected[:2])
        if self.qk_norm == "sum":
            q, k = _sum_normed(q), _sum_normed(k)
        return (q, k, F.silu(projected[2]).view(*heads, self.head_v_dim)), conv


def _sum_normed(x: Tensor) -> Tensor:
    """x / sum(x) over the last dim; x itself if the sum is 0, e.g. for a token of zeros."""
    total = x.sum(-1, keepdim=True)
    return x / torch.where(total == 0, torch.ones_like(total), total)


def _head_dim(name: str, hidden_size: int, expand: float, num_heads: int) -> int:
    width = round(hidden_size * expand)
    if abs(width - hidden_size * expand) > 1e-5 * width or width % num_heads or width < 1:
        raise InvalidInput(
            f"hidden_size * {name} = {hidden_size} * {expand} = {hidden_size * expand} does not "
            f"split into num_heads={num_heads} heads of equal size; choose {name} so that it does."
        )
    return width // num_heads
