"""The inputs of a case, which are the same for all contenders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.compare.cases import Case
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.launch.torch_dtype import torch_dtype

DECAYING = 0.75
"""The fraction of heads whose state decays (slowly); the log decay of the others is 0."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The tensors of a case.

    Args:
        q, k: [B, T, H, D], normalised to length one.
        v: [B, T, HV, D].
        g: [B, T, HV] log decay, fp32.
        beta: [B, T, HV] in [0, 1], fp32.
        h0: [N, HV, D, D] initial state, fp32.
        do: [B, T, HV, D] gradient of the outputs.
        dht: [N, HV, D, D] gradient of the final state, fp32.
        cu_seqlens: [N + 1] int32 for packed sequences, else None.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    g: Tensor
    beta: Tensor
    h0: Tensor
    do: Tensor
    dht: Tensor
    cu_seqlens: Tensor | None

    def tensors(self, op: str) -> dict[str, Tensor]:
        """Return the tensors that a call of an op reads, by name."""
        cotangents = ("do", "dht") if op == "backward" else ()
        names = ("q", "k", "v", "g", "beta", "h0", *cotangents)
        return {name: getattr(self, name) for name in names}

    def bytes(self, op: str) -> int:
        """Return the bytes that a call of an op reads."""
        return sum(x.numel() * x.element_size() for x in self.tensors(op).values())

    def heads(self, count: int) -> Inputs:
        """Return only the last key heads, for checks that are too large otherwise."""
        keys, values = -count, -count * self.v.shape[2] // self.q.shape[2]
        return Inputs(
            q=self.q[:, :, keys:], k=self.k[:, :, keys:], v=self.v[:, :, values:],
            g=self.g[:, :, values:], beta=self.beta[:, :, values:], h0=self.h0[:, values:],
            do=self.do[:, :, values:], dht=self.dht[:, values:], cu_seqlens=self.cu_seqlens,
        )  # fmt: skip


def inputs_of(case: Case, device: torch.device, *, seed: int = 0) -> Inputs:
    """Return random tensors with the distributions of FlashQLA's benchmark, to compare with it."""
    generator = torch.Generator(device=device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    N, D = len(case.lengths), case.D
    B, T = (N, 1) if case.op == "decode" else (1, case.tokens)
    io = torch_dtype(DTYPES[case.dtype])
    g = F.logsigmoid(normal(B, T, case.HV)) / 16
    order = torch.randperm(case.HV, generator=generator, device=device)
    g[:, :, order[ceil(DECAYING * case.HV) :]] = 0.0
    edges = [0, *accumulate(case.lengths)]
    return Inputs(
        q=F.normalize(normal(B, T, case.H, D), dim=-1).to(io),
        k=F.normalize(normal(B, T, case.H, D), dim=-1).to(io),
        v=normal(B, T, case.HV, D).to(io),
        g=g,
        beta=normal(B, T, case.HV).sigmoid(),
        h0=normal(N, case.HV, D, D),
        do=normal(B, T, case.HV, D).to(io),
        dht=normal(N, case.HV, D, D) / 8,
        cu_seqlens=torch.tensor(edges, dtype=torch.int32, device=device) if case.packed else None,
    )


def input_sets(case: Case, device: torch.device, first: Inputs, count: int) -> list[Inputs]:
    """Return ``count`` sets of inputs of a case, including the first one.

    They share ``cu_seqlens``, as the layers of a model do. Libraries cache tables of packed
    sequences by that tensor; for a new tensor they would copy it to the host, which is not
    possible in a CUDA graph.
    """
    more = (inputs_of(case, device, seed=i) for i in range(1, count))
    return [first, *(replace(x, cu_seqlens=first.cu_seqlens) for x in more)]
