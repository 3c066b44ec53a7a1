"""Checking a call on a pool of states; a call that passes poses a Problem of op ``pool``."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.checks import IO_NAMES, check_dense

INDICES = (torch.int32, torch.int64)
NO_POOL = "initial_state is None; give the pool of states [slots, HV, V, K]."


@dataclass(frozen=True)
class PoolArguments:
    """The arguments of a call on a pool as the user gave them, to be checked.

    Args:
        gate: the log decay, or the raw gate ``a`` if ``raw``.
        beta: the writing strength, or the raw ``b`` if ``raw``.
        slots: the argument ``ssm_state_indices``.
        accepted: the argument ``num_accepted_tokens``.
        in_place: the argument ``inplace_final_state``.
        l2: the argument ``use_qk_l2norm_in_kernel``.
        raw: whether gate and beta are still to be activated.
        v_first: the argument ``state_v_first``.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    gate: torch.Tensor | None
    beta: torch.Tensor
    A_log: torch.Tensor | None
    dt_bias: torch.Tensor | None
    pool: torch.Tensor | None
    slots: torch.Tensor | None
    accepted: torch.Tensor | None
    cu_seqlens: torch.Tensor | None
    in_place: bool
    l2: bool
    raw: bool
    v_first: bool

    def floats(self) -> dict[str, torch.Tensor | None]:
        """Return the floating-point arguments by name."""
        gate, beta = ("a", "b") if self.raw else ("g", "beta")
        return {
            "q": self.q, "k": self.k, "v": self.v, gate: self.gate, beta: self.beta,
            "A_log": self.A_log, "dt_bias": self.dt_bias, "initial_state": self.pool,
        }  # fmt: skip

    def indices(self) -> dict[str, torch.Tensor | None]:
        """Return the integer arguments by name."""
        return {
            "ssm_state_indices": self.slots,
            "num_accepted_tokens": self.accepted,
            "cu_seqlens": self.cu_seqlens,
        }


def problem_of_pool(a: PoolArguments) -> Problem:
    """Check a call on a pool and return the problem that it poses.

    Raises:
        InvalidInput: a tensor has a type, shape, strides, dtype or device that is not allowed.
        UnsupportedProblem: no plan computes in the dtype.
    """
    _check_types(a)
    _check_tokens(a)
    B, T, H, K = a.q.shape
    N = B if a.cu_seqlens is None else a.cu_seqlens.numel() - 1
    assert a.pool is not None
    _check_pool(a, N)
    _check_slots(a, N)
    raw = a.raw and a.gate is not None
    return Problem(
        op="pool",
        rule=Rule("none" if a.gate is None else "scalar", True),
        H=H, HV=a.v.shape[2], K=K, V=a.v.shape[3], dtype=IO_NAMES[a.q.dtype],
        tokens=B * T, sequences=max(1, N), varlen=a.cu_seqlens is not None,
        initial_state=True, final_state=a.in_place,
        gate_in_kernel=raw, dt_bias=raw and a.dt_bias is not None,
        state_dtype=IO_NAMES[a.pool.dtype], state_v_first=a.v_first,
        verify=verifies(a.slots, a.accepted), qk_l2norm=a.l2, beta_sigmoid=a.raw,
    )  # fmt: skip


def verifies(slots: torch.Tensor | None, accepted: torch.Tensor | None) -> bool:
    """Return whether each sequence has one slot per token, for the verification of drafts."""
    columns = slots.shape[1] if slots is not None and slots.dim() == 2 else 1
    return columns > 1 or accepted is not None


def check_values(
    pool: torch.Tensor,
    slots: torch.Tensor,
    accepted: torch.Tensor | None,
    longest: int,
) -> None:
    """Check the values of slots, accepted tokens and sequence lengths, in tensors on the CPU.

    Args:
        pool: the pool of states.
        slots: [N, S].
        accepted: [N] or None.
        longest: the number of tokens of the longest packed sequence if each token has a slot,
            else 0.

    Raises:
        InvalidInput: a value is out of range.
    """
    if slots.numel() and (top := slots.max().item()) >= pool.shape[0]:
        if pool.shape[0] == 0:
            raise InvalidInput(
                f"initial_state has shape {list(pool.shape)}, a pool without slots, but "
                f"ssm_state_indices contains {top}; give a pool of at least {top + 1} slots, or -1 "
                "to skip a sequence."
            )
        raise InvalidInput(
            f"ssm_state_indices contains {top}, but the pool has {pool.shape[0]} slots; give 0 to "
            f"{pool.shape[0] - 1}, or -1 to skip a sequence."
        )
    columns = slots.shape[1]
    if accepted is not None and accepted.numel():
        low, high = (int(x) for x in accepted.aminmax())
        if low < 1 or high > columns:
            raise InvalidInput(
                f"num_accepted_tokens contains {low if low < 1 else high}, but each sequence has "
                f"{columns} slots; give 1 to {columns}."
            )
    if longest > columns:
        raise InvalidInput(
            f"a packed sequence has {longest} tokens but {columns} slots; give ssm_state_indices "
            "one column per token."
        )


def _check_types(a: PoolArguments) -> None:
    if a.pool is None:
        raise InvalidInput(NO_POOL)
    for name in ("q", "k", "v"):
        if not isinstance(getattr(a, name), torch.Tensor):
            raise InvalidInput(
                f"{name} is a {type(getattr(a, name)).__name__}; give a torch.Tensor."
            )
    for name, x in {**a.floats(), **a.indices()}.items():
        if x is None:
            continue
        if not isinstance(x, torch.Tensor):
            raise InvalidInput(f"{name} is a {type(x).__name__}; give a torch.Tensor or None.")
        check_dense(name, x)
        if x.device != a.q.device:
            raise InvalidInput(
                f"{name} is on {x.device} and q on {a.q.device}; move all to one device."
            )
        if name in a.indices():
            if x.dtype not in INDICES:
                raise InvalidInput(f"{name} is {x.dtype}; make it int32 or int64.")
        elif not x.is_floating_point():
            raise InvalidInput(f"{name} is {x.dtype}; make it a floating-point tensor.")
    if not a.q.dtype == a.k.dtype == a.v.dtype:
        raise InvalidInput(
            f"q, k, v are {a.q.dtype}, {a.k.dtype}, {a.v.dtype}; cast them to one dtype."
        )
    for name, dtype in (("q, k, v are", a.q.dtype), ("initial_state is", a.pool.dtype)):
        if dtype not in IO_NAMES:
            raise UnsupportedProblem(
                f"{name} {dtype}; the plans take bfloat16, float16 and float32."
            )


def _check_tokens(a: PoolArguments) -> None:
    for name in ("q", "k", "v"):
        if getattr(a, name).dim() != 4:
            shape = list(getattr(a, name).shape)
            raise InvalidInput(f"{name} has shape {shape}; it must be [B, T, heads, head dim].")
    if a.k.shape != a.q.shape:
        raise InvalidInput(
            f"k has shape {list(a.k.shape)} and q {list(a.q.shape)}; they must be equal."
        )
    B, T, H = a.q.shape[:3]
    HV = a.v.shape[2]
    if a.v.shape[:2] != (B, T) or H == 0 or HV == 0 or HV % H:
        raise InvalidInput(
            f"v has shape {list(a.v.shape)}; with q {list(a.q.shape)} it must be "
            f"[{B}, {T}, HV, V], HV a multiple of {H}."
        )
    for name, x in list(a.floats().items())[3:5]:
        if x is not None and tuple(x.shape) not in ((B, T, HV), (B * T, HV)):
            raise InvalidInput(
                f"{name} has shape {list(x.shape)}; it must be [B, T, HV] = [{B}, {T}, {HV}] or "
                f"[{B * T}, {HV}]."
            )
    for name, x in (("A_log", a.A_log), ("dt_bias", a.dt_bias)):
        if x is not None and tuple(x.shape) != (HV,):
            raise InvalidInput(f"{name} has shape {list(x.shape)}; it must be [HV] = [{HV}].")
    if a.cu_seqlens is not None:
        if B != 1:
            raise InvalidInput(
                f"cu_seqlens is given and q has B={B} rows; pack the sequences into one row, B=1."
            )
        if a.cu_seqlens.dim() != 1 or a.cu_seqlens.numel() < 2:
            raise InvalidInput(
                f"cu_seqlens has shape {list(a.cu_seqlens.shape)}; it must be [N + 1], N >= 1."
            )


def _check_pool(a: PoolArguments, N: int) -> None:
    pool, (HV, V), K = a.pool, a.v.shape[2:], a.q.shape[3]
    assert pool is not None
    rows, columns = (V, K) if a.v_first else (K, V)
    order = "[slots, HV, V, K]" if a.v_first else "[slots, HV, K, V]"
    if pool.dim() != 4 or tuple(pool.shape[1:]) != (HV, rows, columns):
        raise InvalidInput(
            f"initial_state has shape {list(pool.shape)}; it must be {order} = "
            f"[slots, {HV}, {rows}, {columns}] (state_v_first={a.v_first})."
        )
    dense = (rows * columns, columns, 1)
    strides = pool.stride()[1:]
    if any(n > 1 and x != y for n, x, y in zip(pool.shape[1:], strides, dense, strict=True)):
        raise InvalidInput(
            f"initial_state has strides {list(pool.stride())}; each slot must be contiguous, with "
            f"strides [any, {', '.join(map(str, dense))}]. Give a contiguous pool, or a view of "
            "whole slots."
        )
    if pool.shape[0] > 1 and pool.stride(0) < HV * rows * columns:
        raise InvalidInput(
            f"initial_state has stride {pool.stride(0)} between slots, so that they share memory; "
            f"it must be >= {HV * rows * columns}. Give a pool whose slots do not overlap."
        )
    if a.slots is None and pool.shape[0] < N:
        raise InvalidInput(
            f"initial_state has {pool.shape[0]} slots for {N} sequences; give ssm_state_indices, "
            "or one slot per sequence."
        )


def _check_slots(a: PoolArguments, N: int) -> None:
    wrong = a.slots is not None and (
        a.slots.dim() not in (1, 2) or a.slots.shape[0] < N or 0 in a.slots.shape[1:]
    )
    if a.slots is not None and wrong:
        raise InvalidInput(
            f"ssm_state_indices has shape {list(a.slots.shape)}; it must be [N] or [N, S] with "
            f"N = {N} sequences and S >= 1."
        )
    if a.accepted is not None and (a.accepted.dim() != 1 or a.accepted.shape[0] < N):
        raise InvalidInput(
            f"num_accepted_tokens has shape {list(a.accepted.shape)}; it must be [N] = [{N}]."
        )
    if a.accepted is not None and a.slots is None:
        raise InvalidInput(
            "num_accepted_tokens is given without ssm_state_indices; give both, the slots as "
            "[N, S]."
        )
    columns = a.slots.shape[1] if a.slots is not None and a.slots.dim() == 2 else 1
    T = a.q.shape[1]
    if verifies(a.slots, a.accepted) and a.in_place and a.cu_seqlens is None and columns < T:
        raise InvalidInput(
            f"ssm_state_indices has {columns} slots per sequence, but q has T={T} tokens; give one "
            "column per token."
        )
