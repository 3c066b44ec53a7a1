"""The delta rule without a gate, and products of several steps of it, by the gated rule's plans."""

from __future__ import annotations

from typing import Any

import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.ops.checks import check_tensor
from gdn_ops.ops.gated_delta_rule import chunk_gated_delta_rule


def chunk_delta_rule(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: torch.Tensor | None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    **more: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """DeltaNet's rule (arXiv 2406.06484): ``chunk_gated_delta_rule`` with nothing forgotten.

    Arguments, results and errors are those of ``chunk_gated_delta_rule``.
    """
    return chunk_gated_delta_rule(
        q, k, v, None, beta, scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
        cu_seqlens=cu_seqlens, cu_seqlens_cpu=cu_seqlens_cpu, **more,
    )  # fmt: skip


def chunk_gated_delta_product(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor | None,
    beta: torch.Tensor,
    num_householder: int,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    cu_seqlens_cpu: torch.Tensor | None = None,
    cp_context: object | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Several steps of the delta rule a token (DeltaProduct, arXiv 2502.10297).

    A token decays the state once, writes ``num_householder`` times and reads after the last one:
    the gated delta rule over a sequence that many times as long.

    Args:
        q: [B, T, H, K]; g: [B, T, HV] log decay or None.
        k: [B, T * num_householder, H, K], v: [B, T * num_householder, HV, V],
            beta: [B, T * num_householder, HV], the steps of a token side by side.
        num_householder: steps of a token, at least 1.
        cu_seqlens: [N + 1] in tokens of q; cu_seqlens_cpu: the same on the host.
        cp_context: must be None (context parallelism is not built).

    Returns:
        o [B, T, HV, V] and the final state as ``chunk_gated_delta_rule``.

    Raises:
        InvalidInput: fewer than one step, or k, v, beta have not that many rows a token.
    """
    steps = num_householder
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InvalidInput(f"num_householder={steps!r}; give a whole number of steps from 1.")
    for name, x, rank in (("q", q, 4), ("k", k, 4), ("v", v, 4), ("g", g, 3), ("beta", beta, 3)):
        if x is not None or name != "g":
            check_tensor(name, x, rank)
    rows = q.shape[1] * steps
    for name, x in (("k", k), ("v", v), ("beta", beta)):
        if x.shape[1] != rows:
            raise InvalidInput(
                f"{name} has {x.shape[1]} rows; {q.shape[1]} tokens of {steps} steps are {rows}."
            )
    o, state = chunk_gated_delta_rule(
        _at_step(q, steps - 1, steps), k, v, None if g is None else _at_step(g, 0, steps), beta,
        scale, initial_state, output_final_state, use_qk_l2norm_in_kernel,
        cu_seqlens=None if cu_seqlens is None else cu_seqlens * steps,
        cu_seqlens_cpu=None if cu_seqlens_cpu is None else cu_seqlens_cpu * steps,
        cp_context=cp_context,
    )  # fmt: skip
    return o[:, steps - 1 :: steps], state


def _at_step(x: torch.Tensor, step: int, steps: int) -> torch.Tensor:
    """[B, T, ...] -> [B, T * steps, ...]: x at one step of every token, zeros at the others."""
    spread = x.new_zeros(x.shape[0], x.shape[1], steps, *x.shape[2:])
    spread[:, :, step] = x
    return spread.flatten(1, 2)
