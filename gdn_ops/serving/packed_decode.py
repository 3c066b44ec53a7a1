"""Decoding one token per sequence from one tensor of q, k and v, with SGLang's signature."""

from __future__ import annotations

import torch

from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.checks import check_dense
from gdn_ops.serving.rule import pool_rule


def fused_recurrent_gated_delta_rule_packed_decode(
    mixed_qkv: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    A_log: torch.Tensor,
    dt_bias: torch.Tensor | None,
    scale: float | None,
    initial_state: torch.Tensor,
    out: torch.Tensor,
    ssm_state_indices: torch.Tensor,
    use_qk_l2norm_in_kernel: bool = False,
    rand_seed: torch.Tensor | None = None,
    use_rs_rounding: bool = False,
    philox_rounds: int = 10,
    *,
    state_v_first: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode one token of each sequence with the gated delta rule, from concatenated q, k, v.

    The rule is that of ``fused_sigmoid_gating_delta_rule_update``. q, k and v are read in place,
    without splitting or copying ``mixed_qkv``. No gradient is recorded.

    Args:
        mixed_qkv: [B, 2 H K + HV V], bf16, fp16 or fp32: q, k and v of each token, concatenated.
            Rows may be any distance apart.
        a: [B, HV] raw gate, any float dtype.
        b: [B, HV] raw writing strength, any float dtype.
        A_log: [HV].
        dt_bias: [HV] or None.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: the pool [slots, HV, V, K], fp32, bf16 or fp16; updated in place.
        out: [B, 1, HV, V], receives the outputs. If it has another dtype than ``mixed_qkv`` or is
            not contiguous, an extra copy is made.
        ssm_state_indices: [B] int32 or int64, the slot of each sequence. A negative slot skips
            the sequence and gives zeros in ``out``.
        use_qk_l2norm_in_kernel: whether to divide q and k by sqrt(sum(x^2) + 1e-6) first.
        rand_seed: ignored; for stochastic rounding.
        use_rs_rounding: must be False, as stochastic rounding is not supported; 16-bit states
            are rounded to nearest.
        philox_rounds: ignored; for stochastic rounding.
        state_v_first: whether the pool is [slots, HV, V, K]; else [slots, HV, K, V].

    Returns:
        ``out`` and ``initial_state``.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: ``use_rs_rounding`` is set, or no plan can run the call.
    """
    if use_rs_rounding:
        raise UnsupportedProblem(
            "use_rs_rounding=True requests stochastic rounding of the state, which is not "
            "supported; leave it out, or keep the pool in float32."
        )
    for name, x in (("mixed_qkv", mixed_qkv), ("initial_state", initial_state)):
        if not isinstance(x, torch.Tensor):
            raise InvalidInput(f"{name} is a {type(x).__name__}; give a torch.Tensor.")
        if x.layout is not torch.strided:
            check_dense(name, x)
    q, k, v = _heads(mixed_qkv, initial_state, v_first=state_v_first)
    if isinstance(out, torch.Tensor) and out.device != v.device:
        raise InvalidInput(
            f"out is on {out.device} and mixed_qkv on {v.device}; move both to one device."
        )
    if not isinstance(out, torch.Tensor) or out.shape != v.shape:
        shape = list(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise InvalidInput(f"out has shape {shape}; it must be [B, 1, HV, V] = {list(v.shape)}.")
    if any(n > 1 and stride == 0 for n, stride in zip(out.shape, out.stride(), strict=True)):
        raise InvalidInput(
            f"out has strides {list(out.stride())}, so that its elements share memory; give a "
            "tensor that is not expanded, e.g. from torch.empty."
        )
    direct = out.dtype == q.dtype and out.is_contiguous()
    o, pool = pool_rule(
        q, k, v, a, b,
        A_log=A_log, dt_bias=dt_bias, scale=scale, pool=initial_state, slots=ssm_state_indices,
        accepted=None, cu_seqlens=None, in_place=True, l2=use_qk_l2norm_in_kernel, raw=True,
        v_first=state_v_first, out=out if direct else None,
    )  # fmt: skip
    if o is not out:
        out.copy_(o)
    return out, pool


def _heads(
    mixed: torch.Tensor, pool: torch.Tensor, *, v_first: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return q, k [B, 1, H, K] and v [B, 1, HV, V] as views; the pool's shape gives HV, K, V."""
    if mixed.dim() != 2 or pool.dim() != 4:
        raise InvalidInput(
            f"mixed_qkv has shape {list(mixed.shape)} and initial_state {list(pool.shape)}; they "
            "must be [B, 2 H K + HV V] and [slots, HV, V, K]."
        )
    HV, V, K = pool.shape[1:] if v_first else (pool.shape[1], pool.shape[3], pool.shape[2])
    B, width = mixed.shape
    HK, rest = divmod(width - HV * V, 2)
    if rest or HK < K or HK % K:
        raise InvalidInput(
            f"mixed_qkv has {width} columns; with HV={HV}, V={V}, K={K} from the pool it must have "
            f"2 H {K} + {HV * V} for some H."
        )
    if torch.compiler.is_compiling():
        # Storage offsets are not meaningful while a graph is traced.
        q, k, v = torch.split(mixed, [HK, HK, HV * V], dim=1)
        heads = (B, 1, HK // K, K)
        return q.reshape(heads), k.reshape(heads), v.reshape(B, 1, HV, V)
    if mixed.stride(1) != 1:
        mixed = mixed.contiguous()
    row, start = mixed.stride(0), mixed.storage_offset()
    heads, stride = (B, 1, HK // K, K), (row, row, K, 1)
    return (
        mixed.as_strided(heads, stride, start),
        mixed.as_strided(heads, stride, start + HK),
        mixed.as_strided((B, 1, HV, V), (row, row, V, 1), start + 2 * HK),
    )
