"""PoolLauncher: a variant bound to a problem of op ``pool``, ready to call."""

from __future__ import annotations

import torch

from gdn_ops.codegen.tensor import Sizes
from gdn_ops.launch.call import TOKEN_INPUTS, Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.packing import packing_of
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.launch.stage_launcher import Workspace


class PoolLauncher(Launcher):
    """A variant bound to a problem of op ``pool``.

    Calling it with a ``PoolCall`` of that problem returns o [B, T, HV, V] and the pool, which it
    updates in place. If the problem is not in place, it returns the states after each token
    [B T, HV, V, K] instead of the pool. No gradient is recorded.
    """

    def __call__(self, call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
        assert isinstance(call, PoolCall)
        with torch.no_grad():
            values = self._run(call)
        if self.problem.final_state:
            return values["o"], call.pool
        states: torch.Tensor = values["states"]
        return values["o"], states.view(-1, *call.pool.shape[1:])

    def workspace(self, call: Call) -> Workspace:
        """Return a workspace with the inputs of a call, their strides, and the outputs."""
        assert isinstance(call, PoolCall)
        B, T = call.q.shape[:2]
        N, S = call.slots.shape
        workspace = Workspace(Sizes(B=B, T=T, N=N, NT=0), {"T": T, "S": S, "scale": call.scale})
        values = workspace.values
        values["A_log"], values["dt_bias"], values["pool"] = call.A_log, call.dt_bias, call.pool
        values["slots"], values["accepted"] = call.slots, call.accepted
        if self.problem.verify and call.accepted is None:
            # Not cached: memory allocated during a CUDA graph's capture must not outlive the graph.
            values["accepted"] = torch.ones(N, dtype=torch.int32, device=call.q.device)
        if self._compiled:
            self._lay_out(call, workspace)
        else:
            self._index(call, workspace)
        return workspace

    def _lay_out(self, call: PoolCall, workspace: Workspace) -> None:
        """Add the arguments of a kernel: strided tensors, offsets on the device, outputs."""
        values = workspace.values
        for name in TOKEN_INPUTS:
            x = getattr(call, name)
            if x is not None:
                values[name], values[f"stride_{name}"] = _token_rows(x)
        slots = values["slots"]
        if slots.shape[1] > 1 and slots.stride(1) != 1:
            values["slots"] = slots = slots.contiguous()
        values["stride_pool"], values["stride_slots"] = call.pool.stride(0), slots.stride(0)
        for name in ("A_log", "dt_bias", "accepted"):
            if values[name] is not None:
                values[name] = values[name].contiguous()
        if call.cu_seqlens is not None:
            values["cu_seqlens"] = call.cu_seqlens.contiguous()
        if call.out is not None:
            values["o"] = call.out
        (stage,) = self.stages
        stage.allocate(workspace, call.q.device)
        if not self.problem.final_state:
            values["states"].zero_()  # the kernel writes no states of a skipped sequence

    def _index(self, call: PoolCall, workspace: Workspace) -> None:
        """Add the arguments of plain PyTorch: 64-bit indices, offsets on the host."""
        values = workspace.values
        values.update({name: getattr(call, name) for name in TOKEN_INPUTS})
        for name in ("g", "beta"):
            if values[name] is not None:
                values[name] = values[name].view(*call.v.shape[:3])
        values["slots"] = call.slots.long()
        if call.cu_seqlens is not None:
            values["offsets"] = packing_of(call.cu_seqlens, call.q.shape[1]).offsets


def _token_rows(x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Return x with contiguous tokens at a constant stride, copied only if needed, and the stride.

    Args:
        x: [B, T, ...], or [B T, HV] for gates.
    """
    shape, stride = x.shape, x.stride()
    if len(shape) == 2:
        return (x, stride[0]) if stride[1] == 1 else (x.contiguous(), shape[1])
    dense, size = True, 1
    for n in range(len(shape) - 1, 1, -1):
        dense = dense and (shape[n] == 1 or stride[n] == size)
        size *= shape[n]
    if dense and shape[0] == 1:
        return x, stride[1]
    if dense and (shape[1] == 1 or stride[0] == shape[1] * stride[1]):
        return x, stride[0] if shape[1] == 1 else stride[1]
    return x.contiguous(), size
