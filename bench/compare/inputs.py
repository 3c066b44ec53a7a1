"""Inputs of a case, the same for every contender."""

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
"""Share of the heads whose state decays, a little a token; the others keep it for ever."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Tensors of a case.

    Args:
        q, k: [B, T, H, D], of length one; v: [B, T, HV, D]; g: [B, T, HV] fp32 log decay;
            beta: [B, T, HV] fp32 in 0..1; h0: [N, HV, D, D] fp32.
        do: [B, T, HV, D]; dht: [N, HV, D, D] fp32.
        cu_seqlens: [N + 1] int32 where sequences are packed, else None.
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
        """What a call of an op reads, by name."""
        cotangents = ("do", "dht") if op == "backward" else ()
        names = ("q", "k", "v", "g", "beta", "h0", *cotangents)
        return {name: getattr(self, name) for name in names}

    def bytes(self, op: str) -> int:
        """Bytes that a call of an op reads."""
        return sum(x.numel() * x.element_size() for x in self.tensors(op).values())

    def heads(self, count: int) -> Inputs:
        """The same of the last key heads alone, for what is too large to check whole."""
        keys, values = -count, -count * self.v.shape[2] // self.q.shape[2]
        return Inputs(
            q=self.q[:, :, keys:], k=self.k[:, :, keys:], v=self.v[:, :, values:],
            g=self.g[:, :, values:], beta=self.beta[:, :, values:], h0=self.h0[:, values:],
            do=self.do[:, :, values:], dht=self.dht[:, values:], cu_seqlens=self.cu_seqlens,
        )  # fmt: skip


def inputs_of(case: Case, device: torch.device, *, seed: int = 0) -> Inputs:
    """Random tensors as FlashQLA's benchmark draws them, so that figures can be set beside its."""
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
    """So many inputs of a case, the first of which is at hand.

    They share ``cu_seqlens``, as the layers of a model do: libraries know packed sequences again by
    that tensor, and read it on the host where they do not, which no CUDA graph allows.
    """
    more = (inputs_of(case, device, seed=i) for i in range(1, count))
    return [first, *(replace(x, cu_seqlens=first.cu_seqlens) for x in more)]
