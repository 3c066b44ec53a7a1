"""Checking the arguments of a call; a call that passes poses a Problem."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Real

import torch

from gdn_ops.codegen.dtype import DTYPES, IO_DTYPES
from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.launch.torch_dtype import torch_dtype

IO_NAMES = {torch_dtype(DTYPES[name]): name for name in IO_DTYPES}
FLOATS = (torch.float64, *IO_NAMES)


@dataclass(frozen=True)
class Arguments:
    """The arguments of a call as the user gave them, to be checked.

    See ``chunk_gated_delta_rule`` for their meaning; ``gate_in_kernel`` is its
    ``use_gate_in_kernel``, and ``delta`` is False for rules without the delta term.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    g: torch.Tensor | None
    beta: torch.Tensor | None
    initial_state: torch.Tensor | None
    output_final_state: bool
    gate_in_kernel: bool
    A_log: torch.Tensor | None
    dt_bias: torch.Tensor | None
    state_v_first: bool
    cu_seqlens: torch.Tensor | None
    delta: bool = True

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the given tensors by argument name."""
        names = ("q", "k", "v", "g", "beta", "initial_state", "A_log", "dt_bias", "cu_seqlens")
        return {name: x for name in names if (x := getattr(self, name)) is not None}


def problem_of(a: Arguments) -> Problem:
    """Check a call and return the problem that it poses.

    Raises:
        InvalidInput: a tensor has a type, rank, shape, dtype or device that is not allowed.
        UnsupportedProblem: no plan computes in the dtype.
    """
    check_arguments(a)
    if a.q.dtype not in IO_NAMES:
        raise UnsupportedProblem(
            f"q, k, v are {a.q.dtype}; the plans compute in bfloat16, float16 and float32. Calls "
            "in float64 run on gdn_ops.reference, which has no variants to choose from."
        )
    B, T, H, K = a.q.shape
    packed = a.cu_seqlens is not None
    return Problem(
        op="decode" if T == 1 and not packed else "forward",
        rule=Rule(_gate_of(a.g), a.delta),
        H=H, HV=a.v.shape[2], K=K, V=a.v.shape[3], dtype=IO_NAMES[a.q.dtype],
        tokens=B * T, sequences=_sequences(a), varlen=packed,
        initial_state=a.initial_state is not None, final_state=a.output_final_state,
        gate_in_kernel=a.gate_in_kernel and a.g is not None,
        dt_bias=a.gate_in_kernel and a.dt_bias is not None,
    )  # fmt: skip


def check_arguments(a: Arguments) -> None:
    """Check the arguments of a call, whatever will compute it; float64 passes.

    Raises:
        InvalidInput: a tensor has a type, layout, rank, shape, dtype or device that is not allowed.
    """
    _check_types(a)
    _check_shapes(a)
    _check_gate(a)
    _check_state(a, _sequences(a))


def check_tensor(name: str, x: object, rank: int | None = None) -> None:
    """Check that an argument is a dense floating-point tensor, with ``rank`` dimensions if given.

    Raises:
        InvalidInput: it is not; the message says what it is and what it must be.
    """
    if not isinstance(x, torch.Tensor):
        raise InvalidInput(f"{name} is a {type(x).__name__}; give a torch.Tensor.")
    check_dense(name, x)
    if x.dtype not in FLOATS:
        raise InvalidInput(
            f"{name} is {x.dtype}; make it a floating-point tensor of 16 bits or more."
        )
    if rank is not None and x.dim() != rank:
        raise InvalidInput(f"{name} has shape {list(x.shape)}; it must have {rank} dimensions.")


def check_dense(name: str, x: torch.Tensor) -> None:
    """Check that a tensor is neither nested nor sparse.

    Raises:
        InvalidInput: it is; the message names the argument and its layout.
    """
    # A nested tensor may have the strided layout, but has no shape.
    if x.is_nested or x.layout is not torch.strided:
        kind = "nested" if x.is_nested else str(x.layout)
        raise InvalidInput(f"{name} is a {kind} tensor; give a dense one, e.g. with cu_seqlens.")


def checked_scale(scale: object) -> float:
    """Return the factor on the outputs as a float; it may be a tensor with one element.

    Raises:
        InvalidInput: it is not a finite real number, or it requires a gradient.
    """
    if type(scale) is float and isfinite(scale):
        return scale
    value = scale
    if isinstance(scale, torch.Tensor):
        if scale.numel() != 1:
            raise InvalidInput(f"scale is a tensor {list(scale.shape)}; give one number.")
        if scale.requires_grad:
            raise InvalidInput(
                "scale requires a gradient, which is not computed; give a number, and multiply o "
                "by the learnt factor."
            )
        value = scale.item()
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InvalidInput(
            f"scale={shown(scale)} is a {type(scale).__name__}; give a float, or None for K^-0.5."
        )
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise InvalidInput(
            f"scale={shown(scale)} is not finite; give a finite float, or None for K^-0.5."
        )
    return number


def _check_types(a: Arguments) -> None:
    for name in ("q", "k", "v"):
        if not isinstance(getattr(a, name), torch.Tensor):
            kind = type(getattr(a, name)).__name__
            raise InvalidInput(f"{name} is a {kind}; give a torch.Tensor.")
    tensors = a.tensors()
    for name, x in tensors.items():
        if not isinstance(x, torch.Tensor):
            raise InvalidInput(f"{name} is a {type(x).__name__}; give a torch.Tensor or None.")
        if name != "cu_seqlens":
            check_tensor(name, x)
        if x.device != a.q.device:
            raise InvalidInput(
                f"{name} is on {x.device} and q on {a.q.device}; move all to one device."
            )
    for name in ("k", "v"):
        if tensors[name].dtype != a.q.dtype:
            raise InvalidInput(
                f"{name} is {tensors[name].dtype} and q is {a.q.dtype}; cast q, k, v to one dtype."
            )


def _check_shapes(a: Arguments) -> None:
    for name in ("q", "k", "v"):
        x = getattr(a, name)
        if x.dim() != 4:
            raise InvalidInput(
                f"{name} has shape {list(x.shape)}; it must be [B, T, heads, head dim]."
            )
    if a.k.shape != a.q.shape:
        raise InvalidInput(
            f"k has shape {list(a.k.shape)} and q {list(a.q.shape)}; they must be equal."
        )
    B, T, H, K = a.q.shape
    if a.v.shape[:2] != (B, T):
        raise InvalidInput(
            f"v has shape {list(a.v.shape)}; its first two dimensions must be q's, [{B}, {T}]."
        )
    HV, V = a.v.shape[2:]
    if K == 0 or V == 0:
        raise InvalidInput(f"the head dims are K={K} and V={V}; each must be >= 1.")
    if H == 0 or HV == 0 or HV % H:
        raise InvalidInput(
            f"HV={HV} value heads are not a multiple of H={H} query/key heads; "
            "give v a multiple of H heads."
        )
    if a.beta is not None and tuple(a.beta.shape) != (B, T, HV):
        raise InvalidInput(
            f"beta has shape {list(a.beta.shape)}; it must be [B, T, HV] = [{B}, {T}, {HV}]."
        )
    if a.g is not None and tuple(a.g.shape) not in ((B, T, HV), (B, T, HV, K)):
        raise InvalidInput(
            f"g has shape {list(a.g.shape)}; it must be [B, T, HV] = [{B}, {T}, {HV}], or "
            f"[B, T, HV, K] = [{B}, {T}, {HV}, {K}] for one decay per key channel."
        )
    if a.cu_seqlens is not None and (a.cu_seqlens.dim() != 1 or a.cu_seqlens.numel() < 2):
        raise InvalidInput(
            f"cu_seqlens has shape {list(a.cu_seqlens.shape)}; it must be [N + 1] with N >= 1."
        )
    if a.cu_seqlens is not None and B != 1:
        raise InvalidInput(
            f"cu_seqlens is given and q has B={B} rows; pack the sequences into one row, B=1."
        )


def _check_gate(a: Arguments) -> None:
    if a.gate_in_kernel:
        if a.g is None or a.A_log is None:
            missing = "g" if a.g is None else "A_log"
            raise InvalidInput(
                f"use_gate_in_kernel=True and {missing} is None; "
                "give the raw gate as g and its A_log [HV]."
            )
        heads = list(a.v.shape[2:3])
        channels = list(a.g.shape[2:])
        for name, shape in (("A_log", heads), ("dt_bias", channels)):
            x = getattr(a, name)
            if x is not None and list(x.shape) != shape:
                symbols = "[HV]" if len(shape) == 1 else "[HV, K] (or flattened)"
                raise InvalidInput(
                    f"{name} has shape {list(x.shape)}; it must be {symbols} = {shape}."
                )


def _sequences(a: Arguments) -> int:
    return a.q.shape[0] if a.cu_seqlens is None else a.cu_seqlens.numel() - 1


def _gate_of(g: torch.Tensor | None) -> str:
    if g is None:
        return "none"
    return "vector" if g.dim() == 4 else "scalar"


def _check_state(a: Arguments, sequences: int) -> None:
    h0 = a.initial_state
    if h0 is None:
        return
    HV, K, V = a.v.shape[2], a.q.shape[3], a.v.shape[3]
    wanted = (sequences, HV, V, K) if a.state_v_first else (sequences, HV, K, V)
    if tuple(h0.shape) != wanted:
        order = "[N, HV, V, K] (state_v_first)" if a.state_v_first else "[N, HV, K, V]"
        raise InvalidInput(
            f"initial_state has shape {list(h0.shape)}; it must be {order} = {list(wanted)}."
        )
