"""Warm-up: render, compile and load what problems will run on, before the first request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch import Choice, using
from gdn_ops.ops.bound import choice_for
from gdn_ops.ops.gated_delta_rule import chunk_gated_delta_rule

WARM_TOKENS = 256
"""Enough for two chunks of the largest size; compiled kernels do not depend on the length."""


def warmup(
    problems: Problem | Iterable[Problem],
    device: torch.device | str = "cuda",
    *,
    gate_dtype: torch.dtype = torch.float32,
    beta_dtype: torch.dtype = torch.float32,
) -> list[Choice]:
    """Compile the variants that problems run on, without tuning, and return the choices.

    Runs each once on small random inputs; memory stays below a few chunks a sequence.

    Args:
        problems: what will be called.
        device: where it will be called.
        gate_dtype, beta_dtype: element types of g and beta in the calls to come; a kernel is
            compiled for them.
    """
    where = torch.device(device)
    if where.type == "cuda" and where.index is None:
        where = torch.device("cuda", torch.cuda.current_device())
    problems = [problems] if isinstance(problems, Problem) else list(problems)
    choices = []
    for problem in problems:
        choices.append(choice_for(problem, where))
        # the small call falls into another bucket, which may have another winner
        with using(choices[-1].variant):
            _run(problem, where, gate_dtype, beta_dtype)
    return choices


def _run(
    problem: Problem, device: torch.device, gate_dtype: torch.dtype, beta_dtype: torch.dtype
) -> None:
    p = replace(problem, tokens=min(problem.tokens, WARM_TOKENS), sequences=1)
    dtype = getattr(torch, DTYPES[p.dtype].torch.removeprefix("torch."))
    T = 1 if p.op == "decode" else p.tokens

    def random(*shape: int, like: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.rand(*shape, device=device).to(like)

    gated = p.rule.gate != "none"
    with torch.no_grad():
        chunk_gated_delta_rule(
            random(1, T, p.H, p.K, like=dtype),
            random(1, T, p.H, p.K, like=dtype) * p.K**-0.5,
            random(1, T, p.HV, p.V, like=dtype),
            -random(1, T, p.HV, like=gate_dtype) if gated else None,
            random(1, T, p.HV, like=beta_dtype),
            initial_state=random(1, p.HV, p.K, p.V) if p.initial_state else None,
            output_final_state=p.final_state,
            cu_seqlens=torch.tensor([0, T], device=device) if p.varlen else None,
            use_gate_in_kernel=p.gate_in_kernel,
            A_log=random(p.HV) if p.gate_in_kernel else None,
            dt_bias=random(p.HV) if p.dt_bias else None,
        )
