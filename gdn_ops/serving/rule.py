"""Running a call on a pool of states on the variant that the dispatcher chooses."""

from __future__ import annotations

from collections.abc import Hashable
from itertools import pairwise

import torch

from gdn_ops.dispatch.bindings import BOUND, bind_signature
from gdn_ops.dispatch.mode import MODE, traced_mode
from gdn_ops.dispatch.posed import Answer, Posed
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.launch.packing import packing_of
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.ops.checks import checked_scale
from gdn_ops.ops.unreadable import is_fake, refuse_transforms, transforming
from gdn_ops.record import RECORDERS, record
from gdn_ops.serving.checks import (
    NO_POOL,
    PoolArguments,
    check_values,
    problem_of_pool,
    verifies,
)


def pool_rule(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gate: torch.Tensor | None,
    beta: torch.Tensor,
    *,
    A_log: torch.Tensor | None,
    dt_bias: torch.Tensor | None,
    scale: float | None,
    pool: torch.Tensor | None,
    slots: torch.Tensor | None,
    accepted: torch.Tensor | None,
    cu_seqlens: torch.Tensor | None,
    in_place: bool,
    l2: bool,
    raw: bool,
    v_first: bool,
    out: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the rule on a pool of states; see the public functions of ``gdn_ops.serving``.

    Args:
        gate: [B, T, HV] or [B T, HV], the log decay, or with ``raw`` the raw gate, which is
            activated with ``A_log`` and ``dt_bias``.
        beta: [B, T, HV] or [B T, HV], the writing strength, or with ``raw`` its logit.
        slots: [N] or [N, S]; None: sequence n has slot n.
        out: [B, T, HV, V] contiguous, in q's dtype, receives o; None: a new tensor.

    Raises:
        InvalidInput, UnsupportedProblem: see ``problem_of_pool``.
    """
    if torch.compiler.is_compiling():
        refuse_transforms()
        return _traced(
            q, k, v, gate, beta, A_log, dt_bias, scale, pool, slots, accepted, cu_seqlens, l2, raw,
            v_first, in_place=in_place,
        )  # fmt: skip
    launcher = signature = None
    # A signature that was seen before needs no checks.
    try:
        signature = (
            "pool", q.shape, k.shape, v.shape, q.dtype, k.dtype, v.dtype, q.device, k.device,
            v.device, q.layout, k.layout, v.layout, _facts(gate), _facts(beta), _facts(A_log),
            _facts(dt_bias), _facts(pool), None if pool is None else pool.stride(), _facts(slots),
            _facts(accepted), _facts(cu_seqlens), in_place, l2, raw, v_first, MODE.get(),
            type(q), transforming(),
        )  # fmt: skip
        launcher = BOUND.get(signature)
    except (AttributeError, RuntimeError):
        signature = None  # an argument is not a dense tensor: the checks below report which one
    if launcher is None:
        arguments = PoolArguments(
            q, k, v, gate, beta, A_log, dt_bias, pool, slots, accepted, cu_seqlens, in_place, l2,
            raw, v_first,
        )  # fmt: skip
        problem = problem_of_pool(arguments)
        if MODE.get().asking:
            raise Answer(Posed(problem, q.device, False))
        if transforming():
            raise UnsupportedProblem(
                "a pool of states is used inside a transform of torch.func (grad, vmap, ...), "
                "which cannot update it in place; make the call outside, or use gdn_ops.ops."
            )
        if is_fake(q):
            return _traced(
                q, k, v, gate, beta, A_log, dt_bias,
                None if scale is None else checked_scale(scale), pool, slots, accepted, cu_seqlens,
                l2, raw, v_first, in_place=in_place,
            )  # fmt: skip
        launcher = bind_signature(signature, problem, q.device, grad=False)
    if RECORDERS:
        record(launcher.problem)
    assert pool is not None
    N = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    # Not cached: memory allocated during a CUDA graph's capture must not outlive the graph.
    rows = torch.arange(N, dtype=torch.int32, device=q.device) if slots is None else slots[:N]
    if rows.dim() == 1:
        rows = rows.unsqueeze(1)
    if accepted is not None:
        accepted = accepted[:N]
    if q.device.type == "cpu":
        longest = 0
        if cu_seqlens is not None and in_place and verifies(rows, accepted):
            offsets = packing_of(cu_seqlens, q.shape[1]).offsets
            longest = max(eos - bos for bos, eos in pairwise(offsets))
        check_values(pool, rows, accepted, longest)
    o, states = launcher(
        PoolCall(
            q=q, k=k, v=v, g=gate, beta=beta,
            scale=launcher.scale if scale is None else checked_scale(scale),
            A_log=A_log, dt_bias=dt_bias, pool=pool, slots=rows, accepted=accepted,
            cu_seqlens=cu_seqlens, out=out,
        )
    )  # fmt: skip
    assert states is not None
    return o, states


def _traced(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    gate: torch.Tensor | None,
    beta: torch.Tensor,
    A_log: torch.Tensor | None,
    dt_bias: torch.Tensor | None,
    scale: float | None,
    pool: torch.Tensor | None,
    *given: torch.Tensor | bool | None,
    in_place: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run a call inside torch.compile or with fake tensors, as one operator that checks later."""
    if pool is None:
        raise InvalidInput(NO_POOL)
    arguments = (q, k, v, gate, beta, A_log, dt_bias, scale, pool, *given, *traced_mode())
    with torch.no_grad():
        if in_place:
            return torch.ops.gdn_ops.pool_update(*arguments), pool
        o, states = torch.ops.gdn_ops.pool_states(*arguments)
    return o, states


def _facts(x: torch.Tensor | None) -> Hashable:
    return None if x is None else (x.shape, x.dtype, x.device, x.layout)
