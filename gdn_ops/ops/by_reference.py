"""Rules of the lattice that no plan computes yet, by the chunkwise form in plain PyTorch."""

from __future__ import annotations

import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.reference import chunkwise_reference


def by_reference(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor | None,
    *,
    delta: bool,
    scale: float | None,
    initial_state: torch.Tensor | None,
    output_final_state: bool,
    state_v_first: bool = False,
    cu_seqlens: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run any Rule of the lattice in fp32 (fp64 for fp64 inputs); autograd gives its gradients.

    Args:
        q, k: [B, T, H, K]; v: [B, T, HV, V], HV a multiple of H.
        g: [B, T, HV], [B, T, HV, K] or None.
        beta: [B, T, HV] or None; of delta rules alone.
        initial_state: [N, HV, K, V], or [N, HV, V, K] with ``state_v_first``.

    Returns:
        o [B, T, HV, V] in q's dtype, and the final state fp32 or None.

    Raises:
        InvalidInput: B > 1 with ``cu_seqlens``.
    """
    if cu_seqlens is not None and q.shape[0] != 1:
        raise InvalidInput(
            f"cu_seqlens is given and q has B={q.shape[0]} rows; pack the sequences into one row."
        )
    if initial_state is not None and state_v_first:
        initial_state = initial_state.transpose(-1, -2)
    o, state = chunkwise_reference(
        q, k, v, g, beta, delta=delta, scale=scale, initial_state=initial_state,
        cu_seqlens=cu_seqlens, dtype=torch.float64 if q.dtype == torch.float64 else torch.float32,
    )  # fmt: skip
    if not output_final_state:
        return o.to(q.dtype), None
    return o.to(q.dtype), state.transpose(-1, -2).contiguous() if state_v_first else state
