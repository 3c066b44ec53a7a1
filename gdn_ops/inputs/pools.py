"""Calls on a pool of states: random calls, their right outputs, and the states that they write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Generator, Tensor

from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.problem import POOL_FACTS, Problem
from gdn_ops.inputs.recipes import normal, uniform
from gdn_ops.launch.call import Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.launch.torch_dtype import torch_dtype
from gdn_ops.reference import l2norm, log_decay, recurrent_reference

STATE_SIZE = 0.1
"""Standard deviation of a state's elements."""
SPARE = 3
"""Number of slots that no sequence uses."""


def without_pool(problem: Problem) -> Problem:
    """The forward problem with the same tokens and no pool."""
    return replace(problem, op="forward", initial_state=False, final_state=False, **POOL_FACTS)


def on_pool(problem: Problem, call: Call, generator: Generator, *, skipped: int) -> PoolCall:
    """The call on a pool of random states, with random slots for its sequences.

    Args:
        problem: of op ``pool``.
        call: of ``without_pool(problem)``; inputs that the problem takes raw are made raw.
        skipped: number of sequences, from the second one on, that have no slot.
    """
    B, T = call.q.shape[:2]
    offsets = call.packing.offsets if call.packing else range(0, B * T + 1, T)
    N, longest = len(offsets) - 1, max(eos - bos for bos, eos in pairwise(offsets))
    S = max(1, longest) if problem.verify else 1
    size, device = N * S + SPARE, call.q.device
    slots = torch.randperm(size, generator=generator, device=device)[: N * S].view(N, S).int()
    slots[1 : 1 + skipped] = -1
    accepted = torch.randint(1, S + 1, (N,), generator=generator, device=device).int()
    rows = (problem.V, problem.K) if problem.state_v_first else (problem.K, problem.V)
    pool = normal(generator, size, problem.HV, *rows) * STATE_SIZE
    q, k, beta = call.q, call.k, call.beta
    assert beta is not None
    if problem.qk_l2norm:
        q, k = (x * uniform(generator, B, T, 1, 1, low=0.5, high=2.0).to(x.dtype) for x in (q, k))
    return PoolCall(
        q=q, k=k, v=call.v, g=call.g,
        beta=torch.logit(beta, eps=1e-4) if problem.beta_sigmoid else beta,
        scale=call.scale, A_log=call.A_log, dt_bias=call.dt_bias, packing=call.packing,
        pool=pool.to(torch_dtype(DTYPES[problem.state_dtype])), slots=slots,
        accepted=accepted if problem.verify else None,
        cu_seqlens=None if call.packing is None else call.packing.cu_seqlens,
    )  # fmt: skip


def expected_outputs(problem: Problem, call: PoolCall) -> dict[str, Tensor]:
    """o and the written states, laid out as in ``outputs_of``, by the recurrence in float64."""
    x, first = _activated(problem, call, torch.float64), _first(call)
    o = torch.zeros(call.v.shape, dtype=torch.float64, device=call.v.device)
    states = (
        _states(problem, call.pool)
        .double()
        .new_zeros(*_leading_dims(problem, call), *_block(problem))
    )
    for n, tokens in _sequences(call):
        if first[n] < 0:
            continue
        S = _states(problem, call.pool[first[n : n + 1]]).double()
        for i, (row, t) in enumerate(tokens):
            q, k, v, beta = (y[row : row + 1, t : t + 1] for y in (x[0], x[1], x[2], x[4]))
            g = None if x[3] is None else x[3][row : row + 1, t : t + 1]
            o_t, S = recurrent_reference(q, k, v, g, beta, scale=call.scale, initial_state=S)
            o[row, t] = o_t[0, 0]
            if not problem.final_state:
                states[row, t] = S[0]
            elif problem.verify:
                states[n, i] = S[0]
            else:
                states[n, 0] = S[0]
    return {"o": o, "ht": states.flatten(0, 1)}


def outputs_of(launcher: Launcher, call: PoolCall) -> dict[str, Tensor]:
    """o and the states that a launcher writes, [M, HV, K, V] fp32; the pool is then restored.

    If states are written in place, these are the states of every slot of every sequence, 0 for a
    slot that is missing or not written. Otherwise they are the states after each token.
    """
    problem, before = launcher.problem, call.pool.clone()
    o, written = launcher(call)
    assert written is not None
    if not problem.final_state:
        return {"o": o, "ht": _states(problem, written).float().contiguous()}
    own = torch.zeros_like(call.slots, dtype=torch.bool)
    first = _first(call)
    for n, tokens in _sequences(call):
        if first[n] >= 0:
            own[n, : len(tokens) if problem.verify else min(1, len(tokens))] = True
    slots = call.slots[own].long()
    states = _states(problem, call.pool).new_zeros(*call.slots.shape, *_block(problem))
    states[own] = _states(problem, call.pool[slots])
    call.pool[slots] = before[slots]
    return {"o": o, "ht": states.flatten(0, 1).float()}


def reference_step(problem: Problem, call: PoolCall) -> None:
    """The call in plain PyTorch in float32: gather states, run the recurrence, scatter them.

    Only the last state of each sequence is written.
    """
    first = torch.tensor(_first(call), device=call.pool.device)
    S = _states(problem, call.pool[first]).float()
    _, ht = recurrent_reference(
        *_activated(problem, call, torch.float32),
        scale=call.scale, initial_state=S, cu_seqlens=call.cu_seqlens, dtype=torch.float32,
    )  # fmt: skip
    if problem.final_state:
        call.pool[first] = _states(problem, ht).to(call.pool.dtype)


def _activated(
    problem: Problem, call: PoolCall, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor]:
    """q, k, v, g and beta, with norms, gate and sigmoid applied."""
    assert call.beta is not None
    q, k, v, beta = (x.to(dtype) for x in (call.q, call.k, call.v, call.beta))
    g = None if call.g is None else call.g.to(dtype)
    if problem.qk_l2norm:
        q, k = l2norm(q), l2norm(k)
    if problem.beta_sigmoid:
        beta = beta.sigmoid()
    if g is not None and call.A_log is not None:
        g = log_decay(
            g, call.A_log.to(dtype), None if call.dt_bias is None else call.dt_bias.to(dtype)
        )
    return q, k, v, g, beta


def _sequences(call: PoolCall) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Each sequence with its tokens as (row, token)."""
    if call.packing is None:
        B, T = call.q.shape[:2]
        yield from ((n, [(n, t) for t in range(T)]) for n in range(B))
        return
    for n, (bos, eos) in enumerate(pairwise(call.packing.offsets)):
        yield n, [(0, t) for t in range(bos, eos)]


def _first(call: PoolCall) -> list[int]:
    """The slot of each sequence's initial state."""
    if call.accepted is None:
        return [int(n) for n in call.slots[:, 0].tolist()]
    pairs = zip(call.slots.tolist(), call.accepted.tolist(), strict=True)
    return [int(own[count - 1]) for own, count in pairs]


def _states(problem: Problem, pool: Tensor) -> Tensor:
    """The states of a pool as [slots, HV, K, V]."""
    return pool.mT if problem.state_v_first else pool


def _block(problem: Problem) -> tuple[int, int, int]:
    return problem.HV, problem.K, problem.V


def _leading_dims(problem: Problem, call: PoolCall) -> tuple[int, int]:
    """First dimensions of the states in ``outputs_of``: sequences, slots or rows, tokens."""
    shape = call.slots.shape if problem.final_state else call.q.shape
    return shape[0], shape[1]
