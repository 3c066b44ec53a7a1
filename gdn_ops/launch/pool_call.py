"""PoolCall: the tensors of one call on a pool of states, in the form that its launcher takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gdn_ops.launch.call import Call


@dataclass(slots=True, kw_only=True)
class PoolCall(Call):
    """The tensors of one call on a pool, already checked.

    q, k, v [B, T, heads, dim] and g, beta [B, T, HV] or [B T, HV] may be strided; they are not
    copied if the elements of a token are contiguous. ``h0`` and ``packing`` of a Call are unused.

    Args:
        pool: [slots, HV, V, K] if the problem is ``state_v_first``, else [slots, HV, K, V]; each
            slot is contiguous, and slots may be any distance apart.
        slots: [N, S] int32 or int64, the slots of each sequence; negative: no slot. S is 1 unless
            the problem has the flag ``verify``.
        accepted: [N] int32 or int64, with ``verify``: a sequence starts from the state in column
            accepted - 1 of its slots.
        cu_seqlens: [N + 1] int32 or int64, the offsets of packed sequences; None for a batch.
        out: [B, T, HV, V] contiguous, in q's dtype, receives o; None: a new tensor.
    """

    pool: torch.Tensor
    slots: torch.Tensor
    accepted: torch.Tensor | None = None
    cu_seqlens: torch.Tensor | None = None
    out: torch.Tensor | None = None
