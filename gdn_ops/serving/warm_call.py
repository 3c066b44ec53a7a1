"""The smallest call on a pool of states, for compiling the kernels of a problem."""

from __future__ import annotations

import torch

from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.problem import Problem
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.launch.torch_dtype import torch_dtype


def warm_call(
    problem: Problem, device: torch.device, gate_dtype: torch.dtype, beta_dtype: torch.dtype
) -> PoolCall:
    """Return a call of one token on a new pool with one slot; indices are int32.

    Args:
        problem: a problem of op ``pool``; its sizes do not matter.
        device: the device of the tensors.
        gate_dtype, beta_dtype: dtypes of the gate and of beta, raw or activated.
    """
    p, io = problem, torch_dtype(DTYPES[problem.dtype])
    rows = (p.V, p.K) if p.state_v_first else (p.K, p.V)
    state = torch_dtype(DTYPES[p.state_dtype])

    def zeros(*shape: int, like: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.zeros(*shape, device=device, dtype=like)

    return PoolCall(
        q=zeros(1, 1, p.H, p.K, like=io),
        k=zeros(1, 1, p.H, p.K, like=io),
        v=zeros(1, 1, p.HV, p.V, like=io),
        g=zeros(1, 1, p.HV, like=gate_dtype) if p.rule.gate != "none" else None,
        beta=zeros(1, 1, p.HV, like=beta_dtype),
        scale=p.K**-0.5,
        A_log=zeros(p.HV) if p.gate_in_kernel else None,
        dt_bias=zeros(p.HV) if p.dt_bias else None,
        pool=zeros(1, p.HV, *rows, like=state),
        slots=zeros(1, 1, like=torch.int32),
        cu_seqlens=torch.tensor([0, 1], dtype=torch.int32, device=device) if p.varlen else None,
    )
