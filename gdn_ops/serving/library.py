"""Decoding on a pool as ``torch.library`` operators, one in place and one not.

torch.compile and fake tensors see a call as one of these operators. At run time they take the
eager path, which checks the arguments and chooses a variant; it is not traced.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gdn_ops.dispatch.mode import as_traced
from gdn_ops.serving.rule import pool_rule


@torch.library.custom_op("gdn_ops::pool_update", mutates_args=("pool",))
def pool_update(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    beta: Tensor,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    scale: float | None,
    pool: Tensor,
    slots: Tensor | None,
    accepted: Tensor | None,
    cu_seqlens: Tensor | None,
    l2: bool,
    raw: bool,
    v_first: bool,
    plan: str = "",
    invariant: bool = False,
) -> Tensor:
    """Update the pool in place and return o [B, T, HV, V].

    ``plan`` and ``invariant`` are set by ``using`` and ``batch_invariant`` inside the traced
    function; the other arguments are those of ``pool_rule``.
    """
    with as_traced(plan, invariant):
        o, _ = pool_rule(
            q, k, v, gate, beta,
            A_log=A_log, dt_bias=dt_bias, scale=scale, pool=pool, slots=slots, accepted=accepted,
            cu_seqlens=cu_seqlens, in_place=True, l2=l2, raw=raw, v_first=v_first,
        )  # fmt: skip
    return o


@pool_update.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *_: object) -> Tensor:
    return v.new_empty(v.shape)


@torch.library.custom_op("gdn_ops::pool_states", mutates_args=())
def pool_states(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    beta: Tensor,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    scale: float | None,
    pool: Tensor,
    slots: Tensor | None,
    accepted: Tensor | None,
    cu_seqlens: Tensor | None,
    l2: bool,
    raw: bool,
    v_first: bool,
    plan: str = "",
    invariant: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return o and the state after each token, [B T, HV, V, K]; the pool is not changed."""
    with as_traced(plan, invariant):
        return pool_rule(
            q, k, v, gate, beta,
            A_log=A_log, dt_bias=dt_bias, scale=scale, pool=pool, slots=slots, accepted=accepted,
            cu_seqlens=cu_seqlens, in_place=False, l2=l2, raw=raw, v_first=v_first,
        )  # fmt: skip


@pool_states.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, gate: object, beta: object, A_log: object, dt_bias: object,
    scale: object, pool: Tensor, *_: object,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return v.new_empty(v.shape), pool.new_empty(q.shape[0] * q.shape[1], *pool.shape[1:])
