"""Decode on a pool of states from activated gates, with vLLM's signature."""

from __future__ import annotations

import torch

from gdn_ops.errors import UnsupportedProblem
from gdn_ops.serving.rule import pool_rule


def fused_recurrent_gated_delta_rule(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    inplace_final_state: bool = True,
    cu_seqlens: torch.Tensor | None = None,
    ssm_state_indices: torch.Tensor | None = None,
    num_accepted_tokens: torch.Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    *,
    retrieve_parent_token: torch.Tensor | None = None,
    state_v_first: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A few tokens of each sequence, on states in slots of a pool, in one launch on a GPU.

    As ``fused_sigmoid_gating_delta_rule_update``, which says what slots, packed sequences and
    verification mean, with gates that are activated already.

    Args:
        g: [B, T, HV] or [B T, HV] log decay, at most 0, any float dtype; None: no gate.
        beta: [B, T, HV] or [B T, HV] writing strength, any float dtype; None: ones.
        retrieve_parent_token: must be None (trees of drafts are not built).

    Returns:
        o [B, T, HV, V] in q's dtype, and the pool, or the states [B T, HV, V, K] after each token.

    Raises:
        InvalidInput: a tensor is outside the contract; names value, limit and remedy.
        UnsupportedProblem: a beta or a gate a channel, a tree of drafts, or no plan can run it.
    """
    if retrieve_parent_token is not None:
        raise UnsupportedProblem(
            "retrieve_parent_token is given and trees of drafts are not built; verify chains."
        )
    for name, x in (("g", g), ("beta", beta)):
        if isinstance(x, torch.Tensor) and x.dim() == 4:
            raise UnsupportedProblem(
                f"{name} has shape {list(x.shape)}, a value a channel, which is not built; give "
                "[B, T, HV]."
            )
    if beta is None:
        beta = v.new_ones(v.shape[:3], dtype=torch.float32)
    return pool_rule(
        q, k, v, g, beta,
        A_log=None, dt_bias=None, scale=scale, pool=initial_state, slots=ssm_state_indices,
        accepted=num_accepted_tokens, cu_seqlens=cu_seqlens, in_place=inplace_final_state,
        l2=use_qk_l2norm_in_kernel, raw=False, v_first=state_v_first,
    )  # fmt: skip
