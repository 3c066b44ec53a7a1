"""What gdn_ops' own launcher passes to each stage of a call, without launching anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.call import Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.packing import packing_of
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.launch.pool_launcher import PoolLauncher
from gdn_ops.launch.stage_launcher import Workspace
from gdn_ops.launch.torch_dtype import torch_dtype


@dataclass(frozen=True)
class Launch:
    """One launch: the stage, its grid, and its arguments by name."""

    stage: str
    grid: tuple[int, ...]
    arguments: dict[str, Any]


@dataclass
class Recording:
    """The launches of a call, every tensor in them by name, and at each launch what exists."""

    launches: list[Launch] = field(default_factory=list)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    live: list[set[str]] = field(default_factory=list)


def recorded(problem: Problem, variant: Variant, call: Call) -> Recording:
    """Run a call in which every stage only notes its launch."""
    kind = PoolLauncher if isinstance(call, PoolCall) else Launcher
    launcher = kind(problem, variant, interpret=False)
    found = Recording()
    workspaces: list[Workspace] = []
    lay_out = launcher.workspace
    launcher.workspace = lambda call: _kept(workspaces, lay_out(call))  # type: ignore[method-assign]
    for stage in launcher.stages:

        def note(grid: Any, arguments: Any, device: Any, stage: Any = stage) -> None:
            found.live.append({n for n, x in workspaces[0].values.items() if x is not None})
            named = dict(zip(stage.arguments, arguments, strict=True))
            found.launches.append(Launch(stage.name, tuple(grid), named))
            tensors = {name: x for name, x in named.items() if isinstance(x, torch.Tensor)}
            for name, tensor in tensors.items():
                assert found.tensors.setdefault(name, tensor) is tensor, name

        stage._launch = note  # type: ignore[assignment]
    if problem.op == "backward":
        launcher.gradients(call)
    else:
        launcher(call)
    return found


def _kept(workspaces: list[Workspace], workspace: Workspace) -> Workspace:
    workspaces.append(workspace)
    return workspace


def call_of(problem: Problem, B: int, T: int, offsets: Sequence[int] | None = None) -> Call:
    """A call of a problem with B rows of T tokens; packed, if there are offsets."""
    p, dtype = problem, torch_dtype_of(problem.dtype)
    N = B if offsets is None else len(offsets) - 1
    raw = p.gate_in_kernel
    gates = {"none": None, "scalar": (B, T, p.HV), "vector": (B, T, p.HV, p.K)}[p.rule.gate]
    cu = None if offsets is None else torch.tensor(offsets, dtype=torch.int32)
    back = p.op == "backward"
    return Call(
        q=torch.zeros(B, T, p.H, p.K, dtype=dtype), k=torch.zeros(B, T, p.H, p.K, dtype=dtype),
        v=torch.zeros(B, T, p.HV, p.V, dtype=dtype),
        g=None if gates is None else torch.zeros(gates),
        beta=torch.zeros(B, T, p.HV) if p.rule.delta else None,
        scale=0.125,
        A_log=torch.zeros(p.HV) if raw else None,
        dt_bias=torch.zeros(p.HV, *(gates or ())[3:]) if p.dt_bias else None,
        h0=torch.zeros(N, p.HV, p.K, p.V) if p.initial_state else None,
        packing=None if cu is None else packing_of(cu, T),
        do=torch.zeros(B, T, p.HV, p.V, dtype=dtype) if back else None,
        dht=torch.zeros(N, p.HV, p.K, p.V) if back and p.final_state else None,
    )  # fmt: skip


def pool_call_of(problem: Problem, N: int, T: int, offsets: Sequence[int] | None) -> PoolCall:
    """A call on a pool, its q, k and v three parts of one tensor, as engines have them."""
    p, dtype = problem, torch_dtype_of(problem.dtype)
    B = N if offsets is None else 1
    width = 2 * p.H * p.K + p.HV * p.V
    mixed = torch.zeros(B, T, width, dtype=dtype)
    q, k, v = mixed.split([p.H * p.K, p.H * p.K, p.HV * p.V], dim=-1)
    S = T if p.verify else 1
    state = (p.V, p.K) if p.state_v_first else (p.K, p.V)
    return PoolCall(
        q=q.view(B, T, p.H, p.K), k=k.view(B, T, p.H, p.K), v=v.view(B, T, p.HV, p.V),
        g=torch.zeros(B, T, p.HV), beta=torch.zeros(B, T, p.HV), scale=0.25,
        A_log=torch.zeros(p.HV) if p.gate_in_kernel else None,
        dt_bias=torch.zeros(p.HV) if p.dt_bias else None,
        pool=torch.zeros(5, p.HV, *state, dtype=torch_dtype_of(p.state_dtype)),
        slots=torch.zeros(N, S, dtype=torch.int32),
        accepted=torch.ones(N, dtype=torch.int32) if p.verify else None,
        cu_seqlens=None if offsets is None else torch.tensor(offsets, dtype=torch.int32),
    )  # fmt: skip


def torch_dtype_of(name: str) -> torch.dtype:
    from gdn_ops.codegen.dtype import DTYPES

    return torch_dtype(DTYPES[name])
