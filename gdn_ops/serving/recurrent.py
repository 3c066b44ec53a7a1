"""Decoding on a pool of states from activated gates, with vLLM's signature."""

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
    """Decode a few tokens of each sequence on a pool of states, with activated gates.

    See ``fused_sigmoid_gating_delta_rule_update`` for slots, packed sequences and the
    verification of drafts; here g and beta are given activated. On a GPU it is one kernel launch.

    Args:
        q, k: [B, T, H, K], bf16, fp16 or fp32; K <= 256.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H, V <= 256.
        g: [B, T, HV] or [B T, HV] log decay (<= 0), any float dtype; None: no gate.
        beta: [B, T, HV] or [B T, HV] writing strength, any float dtype; None: ones.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: the pool [slots, HV, V, K], fp32, bf16 or fp16; each slot is contiguous.
        inplace_final_state: whether to update the pool; else the states are returned.
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1).
        ssm_state_indices: [N] or [N, S] int32 or int64, the slots of each sequence; None:
            sequence n has slot n.
        num_accepted_tokens: [N] int32 or int64, 1 to S; None: ones.
        use_qk_l2norm_in_kernel: whether to divide q and k by sqrt(sum(x^2) + 1e-6) first.
        retrieve_parent_token: must be None; draft trees are not supported.
        state_v_first: whether the pool is [slots, HV, V, K]; else [slots, HV, K, V].

    Returns:
        o [B, T, HV, V] in q's dtype, and the pool, or without ``inplace_final_state`` the state
        after each token [B T, HV, V, K].

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: g or beta has one value per channel, ``retrieve_parent_token`` is
            given, or no plan can run the call.
    """
    if retrieve_parent_token is not None:
        raise UnsupportedProblem(
            "retrieve_parent_token is given, but draft trees are not supported; leave it out and "
            "verify each draft as a chain."
        )
    for name, x in (("g", g), ("beta", beta)):
        if isinstance(x, torch.Tensor) and x.dim() == 4:
            raise UnsupportedProblem(
                f"{name} has shape {list(x.shape)}, one value per channel, which is not supported; "
                "give [B, T, HV]."
            )
    if beta is None:
        beta = v.new_ones(v.shape[:3], dtype=torch.float32)
    return pool_rule(
        q, k, v, g, beta,
        A_log=None, dt_bias=None, scale=scale, pool=initial_state, slots=ssm_state_indices,
        accepted=num_accepted_tokens, cu_seqlens=cu_seqlens, in_place=inplace_final_state,
        l2=use_qk_l2norm_in_kernel, raw=False, v_first=state_v_first,
    )  # fmt: skip
