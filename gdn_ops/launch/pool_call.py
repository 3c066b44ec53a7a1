"""PoolCall: the tensors of one call on a pool of states, as its launcher takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gdn_ops.launch.call import Call


@dataclass(slots=True, kw_only=True)
class PoolCall(Call):
    """The tensors of one call on a pool, already checked.

    q, k, v [B, T, heads, dim] and g, beta [B, T, HV] or [B T, HV] may be strided; of a dense token
    nothing is copied. ``h0`` and ``packing`` of a Call are not used.

    Args:
        pool: [slots, HV, V, K], or [slots, HV, K, V] of a problem that is not ``state_v_first``;
            dense but from slot to slot.
        slots: [N, S], int32 or int64: the slots of each sequence, negative for none; S is 1 unless
            the problem's flag ``verify`` is set.
        accepted: [N] int32 or int64, with ``verify``: a sequence begins in its slot accepted - 1.
        cu_seqlens: [N + 1] int32 or int64, of packed sequences.
        out: [B, T, HV, V] contiguous of q's dtype, where o goes; None: a new tensor.
    """

    pool: torch.Tensor
    slots: torch.Tensor
    accepted: torch.Tensor | None = None
    cu_seqlens: torch.Tensor | None = None
    out: torch.Tensor | None = None
