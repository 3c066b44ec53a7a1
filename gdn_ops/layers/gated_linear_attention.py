"""GatedLinearAttention: the token mixer of arXiv 2312.06635, one decay per key channel."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput
from gdn_ops.layers.cache import LayerState
from gdn_ops.layers.checks import check_counts, check_eps, check_positive
from gdn_ops.layers.gated_rms_norm import GatedRMSNorm
from gdn_ops.layers.token_mixer import TokenMixer
from gdn_ops.ops.gla import chunk_gla, fused_recurrent_gla


class GatedLinearAttention(TokenMixer[LayerState]):
    """Mix tokens by gated linear attention; the state dict is that of FLA's layer.

    q, k, v = projections of x, gk = log(sigmoid(gk_proj(x))) / gate_logit_normalizer,
    S <- diag(exp(gk)) S + k v^T, then o_proj(norm(S^T q) * silu(g_proj(x))).

    Args:
        mode: see ``TokenMixer``.
        hidden_size: size of the input and output.
        expand_k: num_heads * K / hidden_size.
        expand_v: num_heads * V / hidden_size.
        num_heads: heads, each with a state [K, V].
        gate_logit_normalizer: divisor of the log decays; with a larger one states forget slower.
        gate_low_rank_dim: width between the two projections of the decays.
        norm_eps: eps of the output norm.
        layer_idx: the key of this layer's state in a cache.

    Raises:
        InvalidInput: a size is not an integer >= 1, or hidden_size * expand does not split into the
            heads.
        UnknownName: the mode is unknown.
    """

    def __init__(
        self,
        mode: str = "chunk",
        hidden_size: int = 1024,
        expand_k: float = 0.5,
        expand_v: float = 1.0,
        num_heads: int = 4,
        gate_logit_normalizer: int = 16,
        gate_low_rank_dim: int = 16,
        norm_eps: float = 1e-5,
        layer_idx: int | None = None,
    ) -> None:
        super().__init__(hidden_size, layer_idx, mode)
        check_counts(
            num_heads=num_heads,
            gate_logit_normalizer=gate_logit_normalizer,
            gate_low_rank_dim=gate_low_rank_dim,
        )
        check_positive(expand_k=expand_k, expand_v=expand_v)
        check_eps(norm_eps=norm_eps)
        self.num_heads, self.gate_logit_normalizer = num_heads, gate_logit_normalizer
        self.head_k_dim = _head_dim("expand_k", hidden_size, expand_k, num_heads)
        self.head_v_dim = _head_dim("expand_v", hidden_size, expand_v, num_heads)
        key_dim, value_dim = num_heads * self.head_k_dim, num_heads * self.head_v_dim
        self.q_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.k_proj = nn.Linear(hidden_size, key_dim, bias=False)
        self.v_proj = nn.Linear(hidden_size, value_dim, bias=False)
        self.g_proj = nn.Linear(hidden_size, value_dim, bias=False)
        self.gk_proj = nn.Sequential(
            nn.Linear(hidden_size, gate_low_rank_dim, bias=False),
            nn.Linear(gate_low_rank_dim, key_dim, bias=True),
        )
        self.g_norm_swish_gate = GatedRMSNorm(self.head_v_dim, eps=norm_eps)
        self.o_proj = nn.Linear(value_dim, hidden_size, bias=False)

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
        """Project, decay and sum, norm, gate and project back; all [B, T, ...]."""
        q, k, gk = (
            y.view(*x.shape[:2], self.num_heads, self.head_k_dim)
            for y in (self.q_proj(x), self.k_proj(x), self.gk_proj(x))
        )
        v = self.v_proj(x).view(*x.shape[:2], self.num_heads, self.head_v_dim)
        wide = torch.promote_types(x.dtype, torch.float32)
        gk = F.logsigmoid(gk.to(wide)) / self.gate_logit_normalizer
        rule = fused_recurrent_gla if recurrent else chunk_gla
        o, final_state = rule(
            q, k, v, gk,
            initial_state=None if state is None else state.recurrent,
            output_final_state=keep,
            cu_seqlens=cu_seqlens,
        )  # fmt: skip
        gate = self.g_proj(x).view(o.shape)
        o = self.o_proj(self.g_norm_swish_gate(o, gate).flatten(-2))
        return o, None if final_state is None else LayerState(final_state, None)


def _head_dim(name: str, hidden_size: int, expand: float, num_heads: int) -> int:
    dim = hidden_size * expand / num_heads
    if round(dim) < 1 or not math.isclose(dim, round(dim), rel_tol=1e-5):
        raise InvalidInput(
            f"hidden_size * {name} / num_heads = {hidden_size} * {expand} / {num_heads} = {dim:g} "
            f"is not an integer; choose another {name} or number of heads."
        )
    return round(dim)
