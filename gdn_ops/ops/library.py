"""The rule as ``torch.library`` operators, one forward and one backward.

torch.compile and torch.export see a call as one of these operators. At run time they take the
eager path, which checks the arguments and chooses a variant; it is not traced.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from gdn_ops.dispatch.bindings import backward_launcher
from gdn_ops.dispatch.mode import MODE, as_traced, mode_numbered, number_of
from gdn_ops.launch.call import DIFFERENTIABLE, Call
from gdn_ops.launch.packing import packing_of
from gdn_ops.ops.checks import Arguments, problem_of
from gdn_ops.ops.dispatched import dispatched
from gdn_ops.ops.transformed import gradients, keep, no_gradients
from gdn_ops.record import RECORDERS, record


@torch.library.custom_op("gdn_ops::rule", mutates_args=())
def rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    h0: Tensor | None,
    cu_seqlens: Tensor | None,
    cu_seqlens_cpu: Tensor | None,
    scale: float,
    final_state: bool,
    delta: bool = True,
    recorded: bool = True,
    plan: str = "",
    invariant: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the forward.

    Args:
        recorded: whether gradients are recorded.
        plan: the plan set by ``using`` inside the traced function, or an empty string.
        invariant: whether the traced function set ``batch_invariant``.

    Returns:
        o [B, T, HV, V]; the final state [N, HV, K, V] in fp32, or [0] if not requested; and the
        number of the dispatch mode, which tells the backward the mode of the forward call. The
        number is int64 [1] on the CPU. Without gradients it is [0] on the device of the call, as
        Inductor excludes operators that return CPU tensors from CUDA graphs.
    """
    with torch.no_grad(), as_traced(plan, invariant):
        o, ht = dispatched(
            q, k, v, g, beta, scale, h0, final_state, False, cu_seqlens, cu_seqlens_cpu,
            None if A_log is None else (A_log, dt_bias), False, False, False, delta,
        )  # fmt: skip
        mode = _mode_tensor(q, recorded)
        if recorded:
            mode.fill_(number_of(MODE.get()))
    return o, q.new_empty(0, dtype=torch.float32) if ht is None else ht, mode


def _mode_tensor(q: Tensor, recorded: bool) -> Tensor:
    if recorded:
        return torch.empty(1, dtype=torch.int64, device="cpu")
    return q.new_empty(0, dtype=torch.int64)


@rule.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    h0: Tensor | None,
    cu_seqlens: Tensor | None,
    cu_seqlens_cpu: Tensor | None,
    scale: float,
    final_state: bool,
    delta: bool = True,
    recorded: bool = True,
    plan: str = "",
    invariant: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    N = q.shape[0] if cu_seqlens is None else cu_seqlens.shape[0] - 1
    state = (N, v.shape[2], q.shape[3], v.shape[3]) if final_state else (0,)
    o, ht = v.new_empty(v.shape), q.new_empty(state, dtype=torch.float32)
    return o, ht, _mode_tensor(q, recorded)


@torch.library.custom_op("gdn_ops::rule_backward", mutates_args=())
def rule_backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor | None,
    beta: Tensor | None,
    A_log: Tensor | None,
    dt_bias: Tensor | None,
    h0: Tensor | None,
    cu_seqlens: Tensor | None,
    cu_seqlens_cpu: Tensor | None,
    scale: float,
    do: Tensor,
    dht: Tensor | None,
    mode: Tensor,
    delta: bool = True,
) -> list[Tensor]:
    """Return the gradients of the inputs that are not None, in the order of ``DIFFERENTIABLE``.

    Args:
        mode: the third result of ``rule``. It is empty if the forward was traced without
            gradients, e.g. exported for inference and trained later; the backward then runs in
            the current mode.
    """
    problem = problem_of(
        Arguments(
            q, k, v, g, beta, h0, False, A_log is not None, A_log, dt_bias, False, cu_seqlens, delta
        )
    )
    of_call = mode_numbered(int(mode)) if mode.numel() else MODE.get()
    launcher = backward_launcher(problem, q.device, of_call, final_state=dht is not None)
    if RECORDERS:
        record(launcher.problem)
    packing = None
    if cu_seqlens is not None:
        packing = packing_of(cu_seqlens, q.shape[1], cu_seqlens_cpu)
    call = Call(q, k, v, g, beta, scale, A_log, dt_bias, h0, packing, do, dht)
    by_name = launcher.gradients(call)
    return _without_aliases(
        by_name[f"d{name}"].to(x.dtype)
        for name in DIFFERENTIABLE
        if (x := getattr(call, name)) is not None
    )


@rule_backward.register_fake
def _(*inputs: Tensor | float | None) -> list[Tensor]:
    given = inputs[: len(DIFFERENTIABLE)]
    return [x.new_empty(x.shape) for x in given if isinstance(x, Tensor)]


def _without_aliases(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Copy each tensor that shares memory with an earlier one: operators may not return such."""
    results: list[Tensor] = []
    seen: set[int] = set()
    for x in tensors:
        address = x.untyped_storage().data_ptr()
        results.append(x.clone() if address in seen else x)
        seen.add(address)
    return results


rule.register_autograd(gradients, setup_context=keep)
rule_backward.register_autograd(no_gradients)
