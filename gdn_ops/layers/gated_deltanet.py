"""GatedDeltaNet: the token mixer of arXiv 2412.06464, on the tuned ops."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput
from gdn_ops.layers.cache import LayerState
from gdn_ops.layers.checks import check_counts, check_positive
from gdn_ops.layers.gate_parameters import initial_A_log, initial_dt_bias
from gdn_ops.layers.gated_rms_norm import GatedRMSNorm
from gdn_ops.layers.short_convolution import ShortConvolution, convolve_each
from gdn_ops.layers.token_mixer import TokenMixer
from gdn_ops.ops import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule


class GatedDeltaNet(TokenMixer[LayerState]):
    """Mix tokens with the gated delta rule; its state dict is that of FLA's ``GatedDeltaNet``.

    q, k, v = SiLU(conv(W x)), q and k of length 1, g = -exp(A_log) softplus(W_a x + dt_bias),
    beta = sigmoid(W_b x), then o_proj(norm(gated_delta_rule(q, k, v, g, beta)) * silu(W_g x)).

    Args:
        hidden_size: size of the input and output.
        expand_v: value head dim divided by key head dim.
        head_dim: key head dim, K; the value head dim is V = head_dim * expand_v.
        num_heads: query/key heads, H.
        num_v_heads: value heads, HV, a multiple of H; default: H.
        mode: ``chunk`` or ``fused_recurrent``, the op that is called for several tokens when no
            gradient is recorded. The dispatcher chooses the kernel in either case.
        use_gate: whether the output is multiplied by a gate.
        use_short_conv: whether q, k and v go through a short convolution before SiLU.
        allow_neg_eigval: double beta, so that eigenvalues of the transition matrix can be negative
            (arXiv 2411.12537).
        conv_size: taps (kernel size) of the short convolutions.
        conv_bias: whether the short convolutions have a bias.
        layer_idx: the key of this layer's state in a cache.
        norm_eps: eps of the output norm.
        output_gate_activation: ``swish`` (= ``silu``) or ``sigmoid``.

    Raises:
        InvalidInput: a size is not an integer >= 1, HV is not a multiple of H, or V would not be an
            integer.
        UnknownName: the mode or activation is unknown.
    """

    def __init__(
        self,
        hidden_size: int = 2048,
        expand_v: float = 2,
        head_dim: int = 256,
        num_heads: int = 6,
        num_v_heads: int | None = None,
        mode: str = "chunk",
        use_gate: bool = True,
        use_short_conv: bool = True,
        allow_neg_eigval: bool = False,
        conv_size: int = 4,
        conv_bias: bool = False,
        layer_idx: int | None = None,
        norm_eps: float = 1e-5,
        output_gate_activation: str = "swish",
    ) -> None:
        super().__init__(hidden_size, layer_idx, mode)
        num_v_heads = num_heads if num_v_heads is None else num_v_heads
        check_counts(
            num_heads=num_heads, num_v_heads=num_v_heads, head_dim=head_dim, conv_size=conv_size
        )
        check_positive(expand_v=expand_v)
        _check_geometry(num_heads, num_v_heads, head_dim, expand_v)
        self.num_heads, self.num_v_heads = num_heads, num_v_heads
        self.head_k_dim, self.head_v_dim = head_dim, round(head_dim * expand_v)
        self.key_dim, self.value_dim = num_heads * head_dim, num_v_heads * self.head_v_dim
        self.use_gate, self.use_short_conv = use_gate, use_short_conv
        self.allow_neg_eigval = allow_neg_eigval

        self.q_proj = nn.Linear(hidden_size, self.key_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, self.key_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, self.value_dim, bias=False)
        self.a_proj = nn.Linear(hidden_size, num_v_heads, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_v_heads, bias=False)
        self.A_log, self.dt_bias = initial_A_log(num_v_heads), initial_dt_bias(num_v_heads)
        if use_short_conv:
            self.q_conv1d = ShortConvolution(self.key_dim, conv_size, bias=conv_bias)
            self.k_conv1d = ShortConvolution(self.key_dim, conv_size, bias=conv_bias)
            self.v_conv1d = ShortConvolution(self.value_dim, conv_size, bias=conv_bias)
        if use_gate:
            self.g_proj = nn.Linear(hidden_size, self.value_dim, bias=False)
        self.o_norm = GatedRMSNorm(self.head_v_dim, eps=norm_eps, activation=output_gate_activation)
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
        conv = None if state is None else state.conv
        (q, k, v), conv = self._qkv(x, conv, cu_seqlens)
        rule = fused_recurrent_gated_delta_rule if recurrent else chunk_gated_delta_rule
        o, final_state = rule(
            q=q.view(*q.shape[:-1], self.num_heads, self.head_k_dim),
            k=k.view(*k.shape[:-1], self.num_heads, self.head_k_dim),
            v=v.view(*v.shape[:-1], self.num_v_heads, self.head_v_dim),
            g=self.a_proj(x),
            beta=self.b_proj(x),
            initial_state=None if state is None else state.recurrent,
            output_final_state=keep,
            use_qk_l2norm_in_kernel=True,
            use_gate_in_kernel=True,
            A_log=self.A_log,
            dt_bias=self.dt_bias,
            use_beta_sigmoid_in_kernel=True,
            allow_neg_eigval=self.allow_neg_eigval,
            cu_seqlens=cu_seqlens,
        )
        gate = self.g_proj(x).view(o.shape) if self.use_gate else None
        o = self.o_proj(self.o_norm(o, gate).flatten(-2))
        return o, None if final_state is None else LayerState(final_state, conv)

    def _qkv(
        self, x: Tensor, conv: tuple[Tensor, ...] | None, cu_seqlens: Tensor | None
    ) -> tuple[list[Tensor], tuple[Tensor, ...] | None]:
        """q, k and v [B, T, heads * dim] after the convolutions, and their states."""
        projected = [self.q_proj(x), self.k_proj(x), self.v_proj(x)]
        if not self.use_short_conv:
            return [F.silu(y) for y in projected], None
        layers = (self.q_conv1d, self.k_conv1d, self.v_conv1d)
        return convolve_each(layers, projected, conv, cu_seqlens)


def _check_geometry(num_heads: int, num_v_heads: int, head_dim: int, expand_v: float) -> None:
    if num_v_heads % num_heads:
        raise InvalidInput(
            f"num_v_heads={num_v_heads} is not a multiple of num_heads={num_heads}; "
            "give each query/key head the same number of value heads."
        )
    if round(head_dim * expand_v) < 1 or not math.isclose(
        head_dim * expand_v, round(head_dim * expand_v), rel_tol=1e-5
    ):
        raise InvalidInput(
            f"head_dim * expand_v = {head_dim} * {expand_v} = {head_dim * expand_v} is not an "
            "integer; choose expand_v so that the value head dim is an integer."
        )
