"""Decoding on a pool of states from raw gates, with vLLM's signature."""

from __future__ import annotations

from math import log

import torch

from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.serving.rule import pool_rule

LEAST_THRESHOLD = 15.0
"""Above it softplus(x) equals x in fp32, so that any higher threshold gives the same function."""


def fused_sigmoid_gating_delta_rule_update(
    A_log: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    dt_bias: torch.Tensor | None,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: float = 1.0,
    threshold: float = 20.0,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    inplace_final_state: bool = True,
    cu_seqlens: torch.Tensor | None = None,
    ssm_state_indices: torch.Tensor | None = None,
    num_accepted_tokens: torch.Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    is_kda: bool = False,
    *,
    state_v_first: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode a few tokens of each sequence on a pool of states, with raw gates.

    Per value head and token, with g = -exp(A_log) softplus(a + dt_bias):

        S <- exp(g) S;  S <- S + k (sigmoid(b) (v - S^T k))^T;  o = scale S^T q

    The states are in the slots of a pool. A sequence with one slot reads its state there and
    writes the state after its last token back. A sequence with S slots verifies draft tokens: it
    starts from the state in column ``num_accepted_tokens - 1`` of its slots, and writes the state
    after token t to column t. A negative slot means none: a sequence that would start from it is
    skipped and its outputs are zero, and a state that would go to it is dropped. Slots that are
    not listed do not change.

    The computation is in fp32, and the state is not rounded between the tokens of a call. On a GPU
    it is one kernel launch. No gradient is recorded. torch.compile sees one operator that mutates
    the pool.

    The caller must not list a slot twice in a call, as two programs would write it at the same
    time. On a GPU the caller must also ensure that slots are within the pool; this is checked on
    the CPU only.

    Args:
        A_log: [HV]; this and the other gate arguments have any float dtype.
        a: [B, T, HV] or [B T, HV] raw gate.
        b: [B, T, HV] or [B T, HV] raw writing strength.
        dt_bias: [HV] or None.
        q, k: [B, T, H, K], bf16, fp16 or fp32; K <= 256. q, k, v, a and b may be views with any
            stride between tokens.
        v: [B, T, HV, V], in q's dtype; HV a multiple of H, V <= 256.
        beta: of the softplus log(1 + exp(beta x)) / beta; > 0.
        threshold: the softplus is x where beta x > threshold; >= 15.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: the pool [slots, HV, V, K], fp32, bf16 or fp16. Each slot is contiguous;
            slots may be any distance apart.
        inplace_final_state: whether to update the pool; else it is not changed, and the state
            after each token is returned.
        cu_seqlens: [N + 1] int32 or int64, offsets of sequences packed in one row (B = 1).
            Sequences may be empty, and the last offset may be < T. Without it N is B.
        ssm_state_indices: [N] or [N, S] int32 or int64, the slots of each sequence; further rows
            are ignored. None: sequence n has slot n.
        num_accepted_tokens: [N] int32 or int64, 1 to S; None: ones.
        use_qk_l2norm_in_kernel: whether to divide q and k by sqrt(sum(x^2) + 1e-6) first.
        is_kda: must be False; a gate per key channel is not supported.
        state_v_first: whether the pool is [slots, HV, V, K]; else [slots, HV, K, V].

    Returns:
        o [B, T, HV, V] in q's dtype, zero at tokens that belong to no sequence, and the pool, or
        without ``inplace_final_state`` the state after each token [B T, HV, V, K] in the pool's
        dtype, zero at skipped tokens.

    Raises:
        InvalidInput: a tensor violates this contract; the message says how.
        UnsupportedProblem: ``is_kda`` is set, ``threshold`` is below 15, or no plan can run the
            call.
    """
    if is_kda:
        raise UnsupportedProblem(
            "is_kda=True requests a gate per key channel, which is not supported; give one gate "
            "per head."
        )
    if threshold < LEAST_THRESHOLD:
        raise UnsupportedProblem(
            f"threshold={threshold} would change the softplus noticeably; give 20, or a value >= "
            f"{LEAST_THRESHOLD:g}."
        )
    if A_log is None:
        raise InvalidInput("A_log is None; give A_log [HV].")
    if beta != 1.0:
        A_log, a, dt_bias = _absorb_beta(beta, A_log, a, dt_bias)
    return pool_rule(
        q, k, v, a, b,
        A_log=A_log, dt_bias=dt_bias, scale=scale, pool=initial_state, slots=ssm_state_indices,
        accepted=num_accepted_tokens, cu_seqlens=cu_seqlens, in_place=inplace_final_state,
        l2=use_qk_l2norm_in_kernel, raw=True, v_first=state_v_first,
    )  # fmt: skip


def _absorb_beta(
    beta: float, A_log: torch.Tensor, a: torch.Tensor, dt_bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return A_log, a and dt_bias that give the same gate with a softplus whose beta is 1."""
    if not beta > 0:
        raise InvalidInput(f"beta={beta} of the softplus must be > 0; give 1.0.")
    bias = None if dt_bias is None else beta * dt_bias.float()
    return A_log.float() - log(beta), beta * a.float(), bias
