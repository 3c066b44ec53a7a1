"""Mamba2: the token mixer of arXiv 2405.21060, linear attention with one decay per head."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput
from gdn_ops.layers.cache import LayerState
from gdn_ops.layers.checks import check_counts, check_eps, check_positive
from gdn_ops.layers.gate_parameters import initial_A_log, initial_dt_bias
from gdn_ops.layers.short_convolution import ShortConvolution
from gdn_ops.layers.token_mixer import TokenMixer
from gdn_ops.ops.simple_gla import chunk_simple_gla


class Mamba2(TokenMixer[LayerState]):
    """Mix tokens with a decaying sum of k v^T; state dict as in transformers and mamba-ssm.

    [z, xBC, dt] = in_proj(x), [v, k, q] = SiLU(conv(xBC)) (the paper's x, B and C),
    dt = softplus(dt + dt_bias), S <- exp(-exp(A_log) dt) S + k (dt v)^T, then
    out_proj(norm((S^T q + D v) * silu(z))).

    Args:
        hidden_size: size of the input and output.
        num_heads: value heads, HV.
        head_dim: value head dim, V.
        state_size: key head dim, K.
        expand: num_heads * head_dim / hidden_size.
        n_groups: query/key heads, H; HV must be a multiple of it. The norm has as many groups.
        conv_kernel: taps (kernel size) of the short convolution.
        use_conv_bias: whether the short convolution has a bias.
        use_bias: whether the projections have biases.
        norm_eps: eps of the output norm.
        layer_idx: the key of this layer's state in a cache.

    Raises:
        InvalidInput: a size is not an integer >= 1, ``expand`` does not fit the heads, or HV is not
            a multiple of H.
    """

    def __init__(
        self,
        hidden_size: int = 2048,
        num_heads: int = 64,
        head_dim: int = 64,
        state_size: int = 128,
        expand: float = 2,
        n_groups: int = 1,
        conv_kernel: int = 4,
        use_conv_bias: bool = True,
        use_bias: bool = False,
        norm_eps: float = 1e-5,
        layer_idx: int | None = None,
    ) -> None:
        super().__init__(hidden_size, layer_idx)
        check_counts(
            num_heads=num_heads,
            head_dim=head_dim,
            state_size=state_size,
            n_groups=n_groups,
            conv_kernel=conv_kernel,
        )
        check_positive(expand=expand)
        check_eps(norm_eps=norm_eps)
        _check_geometry(hidden_size, num_heads, head_dim, expand, n_groups)
        self.num_heads, self.head_dim = num_heads, head_dim
        self.state_size, self.n_groups, self.norm_eps = state_size, n_groups, norm_eps
        self.value_dim, self.key_dim = num_heads * head_dim, n_groups * state_size
        conv_dim = self.value_dim + 2 * self.key_dim
        self.in_proj = nn.Linear(hidden_size, self.value_dim + conv_dim + num_heads, bias=use_bias)
        self.conv1d = ShortConvolution(conv_dim, conv_kernel, bias=use_conv_bias)
        self.dt_bias = initial_dt_bias(num_heads)
        self.A_log = initial_A_log(num_heads, low=1.0)
        self.D = nn.Parameter(torch.ones(num_heads))
        self.norm = nn.RMSNorm(self.value_dim)
        self.out_proj = nn.Linear(self.value_dim, hidden_size, bias=use_bias)

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
        """Project, convolve, decay and sum, gate, norm and project back; all [B, T, ...]."""
        widths = [self.value_dim, self.value_dim + 2 * self.key_dim, self.num_heads]
        z, vkq, dt = self.in_proj(x).split(widths, dim=-1)
        before = None if state is None or state.conv is None else state.conv[0]
        vkq, conv = self.conv1d(vkq, before, cu_seqlens)
        v, k, q = vkq.split([self.value_dim, self.key_dim, self.key_dim], dim=-1)
        v = v.reshape(*x.shape[:2], self.num_heads, self.head_dim)
        groups = (*x.shape[:2], self.n_groups, self.state_size)
        wide = torch.promote_types(x.dtype, torch.float32)
        dt = F.softplus(dt.to(wide) + self.dt_bias.to(wide))
        o, final_state = chunk_simple_gla(
            q=q.reshape(groups).to(wide),
            k=k.reshape(groups).to(wide),
            v=dt[..., None] * v,
            g=-self.A_log.to(wide).exp() * dt,
            scale=1.0,
            initial_state=None if state is None else state.recurrent,
            output_final_state=keep,
            cu_seqlens=cu_seqlens,
        )
        o = o + self.D.to(wide)[:, None] * v
        o = self.out_proj(self._normed(o.flatten(-2) * F.silu(z.to(wide))).to(x.dtype))
        return o, None if final_state is None else LayerState(final_state, (conv,))

    def _normed(self, y: Tensor) -> Tensor:
        """RMS norm of each group of y [B, T, value_dim], times the weight."""
        groups = y.view(*y.shape[:2], self.n_groups, self.value_dim // self.n_groups)
        normed = F.rms_norm(groups, groups.shape[-1:], eps=self.norm_eps).flatten(-2)
        return normed * self.norm.weight.to(y.dtype)


def _check_geometry(
    hidden_size: int, num_heads: int, head_dim: int, expand: float, n_groups: int
) -> None:
    # isclose: an expand computed as a quotient is rounded
    if not math.isclose(num_heads * head_dim, expand * hidden_size, rel_tol=1e-5):
        raise InvalidInput(
            f"num_heads * head_dim = {num_heads} * {head_dim} is not expand * hidden_size = "
            f"{expand} * {hidden_size}; choose expand = {num_heads * head_dim / hidden_size:g}."
        )
    if num_heads % n_groups:
        raise InvalidInput(
            f"num_heads={num_heads} is not a multiple of n_groups={n_groups}; "
            "give each group the same number of heads."
        )
