"""GatedDeltaNet: the token mixer of arXiv 2412.06464, on the tuned ops."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.layers.cache import DeltaNetCache, LayerState
from gdn_ops.layers.gated_rms_norm import GatedRMSNorm
from gdn_ops.layers.short_convolution import ShortConvolution
from gdn_ops.ops import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule

MODES = ("chunk", "fused_recurrent")
ConvStates = tuple[Tensor, Tensor, Tensor]


class GatedDeltaNet(nn.Module):
    """Mix tokens with the gated delta rule; the state dict is that of FLA's layer of this name.

    q, k, v = SiLU(conv(W x)), q and k of length one, g = -exp(A_log) softplus(W_a x + dt_bias),
    beta = sigmoid(W_b x), then o_proj(norm(gated_delta_rule(q, k, v, g, beta)) * silu(W_g x)).

    Args:
        hidden_size: size of the input and output.
        expand_v: value head dim over key head dim.
        head_dim: key head dim, K; the value head dim is V = head_dim * expand_v.
        num_heads: query/key heads, H.
        num_v_heads: value heads, HV, a multiple of H; H where not given.
        mode: ``chunk`` or ``fused_recurrent``, the op that several tokens without a gradient call;
            which kernel runs is the dispatcher's choice either way.
        use_gate: whether the output is gated.
        use_short_conv: whether q, k and v pass a short convolution, or only SiLU.
        allow_neg_eigval: double beta, so that the state may flip sign (arXiv 2411.12537).
        conv_size: taps of the short convolutions.
        conv_bias: whether they have a bias.
        layer_idx: the layer's key in a cache.
        norm_eps: eps of the output norm.
        output_gate_activation: ``swish`` (= ``silu``) or ``sigmoid``.

    Raises:
        InvalidInput: HV is no multiple of H, or V is not whole.
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
        super().__init__()
        num_v_heads = num_heads if num_v_heads is None else num_v_heads
        _check_geometry(num_heads, num_v_heads, head_dim, expand_v)
        if mode not in MODES:
            raise UnknownName.of("mode", mode, MODES)
        self.hidden_size, self.mode, self.layer_idx = hidden_size, mode, layer_idx
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
        self.A_log = nn.Parameter(_initial_A_log(num_v_heads))
        self.dt_bias = nn.Parameter(_initial_dt_bias(num_v_heads))
        for parameter in (self.A_log, self.dt_bias):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]  # read by optimizers
        if use_short_conv:
            self.q_conv1d = ShortConvolution(self.key_dim, conv_size, bias=conv_bias)
            self.k_conv1d = ShortConvolution(self.key_dim, conv_size, bias=conv_bias)
            self.v_conv1d = ShortConvolution(self.value_dim, conv_size, bias=conv_bias)
        if use_gate:
            self.g_proj = nn.Linear(hidden_size, self.value_dim, bias=False)
        self.o_norm = GatedRMSNorm(self.head_v_dim, eps=norm_eps, activation=output_gate_activation)
        self.o_proj = nn.Linear(self.value_dim, hidden_size, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: DeltaNetCache | None = None,
        use_cache: bool = False,
        output_attentions: bool = False,
        *,
        cu_seqlens: Tensor | None = None,
    ) -> tuple[Tensor, None, DeltaNetCache | None]:
        """Mix a batch, a padded batch or packed sequences; go on from a cache where one is given.

        Args:
            hidden_states: [B, T, hidden_size].
            attention_mask: [B, at least T], 0 at padding; its last T columns count. Padding
                neither reads nor writes a state, and its output is 0.
            past_key_values: the cache of earlier calls; read and updated with this call's states.
            use_cache: return a cache, a new one where none is given.
            output_attentions: accepted for FLA's signature; this rule has no attention weights.
            cu_seqlens: [N+1], packed sequences in one row (B = 1).

        Returns:
            The output [B, T, hidden_size], None, and the cache or None.

        Raises:
            InvalidInput: mask and ``cu_seqlens`` together, a cache without ``layer_idx`` or for
                another number of sequences.
        """
        x, cu_seqlens, valid = _unpad(hidden_states, attention_mask, cu_seqlens)
        cache = DeltaNetCache() if use_cache and past_key_values is None else past_key_values
        sequences = x.shape[0] if cu_seqlens is None else cu_seqlens.numel() - 1
        state = None if cache is None else self._state(cache, sequences)
        one_by_one = hidden_states.shape[1] == 1 or self.mode == "fused_recurrent"
        recurrent = one_by_one and not torch.is_grad_enabled()
        o, state = self._mix(x, state, cu_seqlens, recurrent=recurrent, keep=cache is not None)
        if cache is not None and self.layer_idx is not None and state is not None:
            cache.layers[self.layer_idx] = state
        if valid is not None:
            o = o.new_zeros(hidden_states.shape).index_put((valid,), o[0])
        return o, None, cache

    def _state(self, cache: DeltaNetCache, sequences: int) -> LayerState | None:
        """This layer's state in a cache; None before its first call."""
        if self.layer_idx is None:
            raise InvalidInput(
                "a cache is used on a layer with layer_idx=None; "
                "give each layer of the stack its own layer_idx."
            )
        state = cache.layers.get(self.layer_idx)
        if state is not None and state.recurrent.shape[0] != sequences:
            raise InvalidInput(
                f"the cache holds {state.recurrent.shape[0]} sequences and the call has "
                f"{sequences}; call with as many, in the same order, or start a new cache."
            )
        return state

    def _mix(
        self,
        x: Tensor,
        state: LayerState | None,
        cu_seqlens: Tensor | None,
        *,
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
        self, x: Tensor, conv: ConvStates | None, cu_seqlens: Tensor | None
    ) -> tuple[tuple[Tensor, Tensor, Tensor], ConvStates | None]:
        """q, k and v [B, T, heads * dim] behind the convolutions, and the convolutions' states."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if not self.use_short_conv:
            return (F.silu(q), F.silu(k), F.silu(v)), None
        q_state, k_state, v_state = conv or (None, None, None)
        q, q_state = self.q_conv1d(q, q_state, cu_seqlens)
        k, k_state = self.k_conv1d(k, k_state, cu_seqlens)
        v, v_state = self.v_conv1d(v, v_state, cu_seqlens)
        return (q, k, v), (q_state, k_state, v_state)


def _check_geometry(num_heads: int, num_v_heads: int, head_dim: int, expand_v: float) -> None:
    if num_v_heads % num_heads:
        raise InvalidInput(
            f"num_v_heads={num_v_heads} is no multiple of num_heads={num_heads}; "
            "give each query/key head a whole number of value heads."
        )
    if not math.isclose(head_dim * expand_v, round(head_dim * expand_v), rel_tol=1e-5):
        raise InvalidInput(
            f"head_dim * expand_v = {head_dim} * {expand_v} = {head_dim * expand_v} is not whole; "
            "choose expand_v so that the value head dim is an integer."
        )


def _unpad(
    x: Tensor, attention_mask: Tensor | None, cu_seqlens: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Pack the tokens a mask leaves; returns x, cu_seqlens and the mask [B, T] to unpack with."""
    if attention_mask is None:
        return x, cu_seqlens, None
    B, T, _ = x.shape
    shape = tuple(attention_mask.shape)
    if cu_seqlens is not None or len(shape) != 2 or shape[0] != B or shape[1] < T:
        raise InvalidInput(
            f"attention_mask {shape} must be [B={B}, at least T={T}] and come without cu_seqlens; "
            "give a 0/1 padding mask or cu_seqlens."
        )
    valid = attention_mask[:, -T:].bool()
    if bool(valid.all()):
        return x, None, None
    return x[valid][None], F.pad(valid.sum(1).cumsum(0), (1, 0)), valid


def _initial_A_log(heads: int) -> Tensor:
    """log U(0, 16), the rates of Mamba-2; the lower end is kept off log(0) = -inf."""
    return torch.empty(heads).uniform_(1e-4, 16).log()


def _initial_dt_bias(heads: int) -> Tensor:
    """softplus^-1(dt) with log dt uniform between log 0.001 and log 0.1, as in Mamba-2."""
    low, high = math.log(1e-3), math.log(0.1)
    dt = torch.empty(heads).uniform_(low, high).exp()
    return dt + torch.log(-torch.expm1(-dt))
