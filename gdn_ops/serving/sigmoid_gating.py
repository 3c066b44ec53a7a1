"""Decode on a pool of states from raw gates, with vLLM's signature."""

from __future__ import annotations

from math import log

import torch

from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.serving.rule import pool_rule

LEAST_THRESHOLD = 15.0
"""Above it softplus(x) is x in fp32, wherever an implementation begins to say so."""


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
    """A few tokens of each sequence, on states in slots of a pool, in one launch on a GPU.

    Per value head and token, with g = -exp(A_log) softplus(a + dt_bias):

        S <- exp(g) S;  S <- S + k (sigmoid(b) (v - S^T k))^T;  o = scale S^T q

    A sequence with one slot leaves the state after its last token there. One with S slots is
    verified: it begins from slot ``num_accepted_tokens - 1`` of its own, and its state after token
    t goes to slot t. A negative slot is none: a sequence that begins from none is skipped, its o is
    zero, and a state that belongs to none is dropped. Slots that no sequence names stay bitwise as
    they are. Arithmetic is in fp32, and between the tokens of a call the state is not rounded. No
    gradient is recorded. To torch.compile a call is one operator, which writes the pool.

    The caller sees to it that no slot is named twice in a call (it would be written by two
    programs at a time), and on a GPU, where nothing is read back, that slots lie within the pool.

    Args:
        A_log: [HV], any float dtype, as all gates.
        a, b: [B, T, HV] or [B T, HV], raw gate and raw writing strength.
        dt_bias: [HV] or None.
        q, k: [B, T, H, K], bf16, fp16 or fp32; K at most 256. They, v, a and b may be views with
            any distance between tokens.
        v: [B, T, HV, V], of q's dtype; HV a multiple of H, V at most 256.
        beta, threshold: of the softplus, log(1 + exp(beta x)) / beta, which is x where
            beta x > threshold.
        scale: factor on the outputs; None: K^-0.5.
        initial_state: the pool, [slots, HV, V, K], fp32, bf16 or fp16; slots may lie at any
            distance, each is dense.
        inplace_final_state: write the pool; otherwise it stays as it is and the state after each
            token is returned.
        cu_seqlens: [N + 1] int32 or int64, sequences packed in one row (B = 1); empty ones and
            tokens behind the last one do no harm. Else N is B.
        ssm_state_indices: [N] or [N, S] int32 or int64, slots; more rows are ignored. None:
            sequence n has slot n.
        num_accepted_tokens: [N] int32 or int64, 1 to S; None: ones.
        use_qk_l2norm_in_kernel: divide q and k by sqrt(sum(x^2) + 1e-6) first.
        is_kda: must be False.
        state_v_first: False: the pool is [slots, HV, K, V].

    Returns:
        o [B, T, HV, V] in q's dtype, zeros at tokens of no sequence, and the pool itself, or
        [B T, HV, V, K] of its dtype if it is not written (zeros at tokens that are skipped).

    Raises:
        InvalidInput: a tensor is outside the contract; names value, limit and remedy.
        UnsupportedProblem: ``is_kda``, a threshold below 15, or no plan can run the call.
    """
    if is_kda:
        raise UnsupportedProblem(
            "is_kda=True asks for a gate a key channel, which is not built; give one gate a head."
        )
    if threshold < LEAST_THRESHOLD:
        raise UnsupportedProblem(
            f"threshold={threshold} makes another function of the softplus; give 20, or at least "
            f"{LEAST_THRESHOLD:g}."
        )
    if A_log is None:
        raise InvalidInput("A_log is None; give the log of the gate's rate [HV].")
    if beta != 1.0:
        A_log, a, dt_bias = _of_plain_softplus(beta, A_log, a, dt_bias)
    return pool_rule(
        q, k, v, a, b,
        A_log=A_log, dt_bias=dt_bias, scale=scale, pool=initial_state, slots=ssm_state_indices,
        accepted=num_accepted_tokens, cu_seqlens=cu_seqlens, in_place=inplace_final_state,
        l2=use_qk_l2norm_in_kernel, raw=True, v_first=state_v_first,
    )  # fmt: skip


def _of_plain_softplus(
    beta: float, A_log: torch.Tensor, a: torch.Tensor, dt_bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The gate's arguments with which softplus(x) does what softplus(beta x) / beta did."""
    if not beta > 0:
        raise InvalidInput(f"beta={beta} of the softplus is not positive; give 1.0.")
    bias = None if dt_bias is None else beta * dt_bias.float()
    return A_log.float() - log(beta), beta * a.float(), bias
