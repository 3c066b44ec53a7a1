"""A small call of the split plan with every intermediate of it in fp64, by plain PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import normalize

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.tensor import Sizes

GATES = {"zero": 0.0, "model": 0.3, "strong": 60.0, "wild": 5000.0}
"""The largest decay -g of a token."""


@dataclass(frozen=True, kw_only=True)
class SplitCase:
    """Sizes, flags and gates of a call; ``offsets`` packs sequences into one row of T tokens.

    ``vector``: a gate a key channel.
    """

    B: int = 1
    T: int = 40
    H: int = 1
    HV: int = 2
    K: int = 16
    V: int = 16
    BT: int = 16
    dtype: str = "fp32"
    gate: str = "model"
    vector: bool = False
    delta: bool = True
    initial_state: bool = True
    final_state: bool = True
    offsets: tuple[int, ...] | None = None

    @property
    def problem(self) -> Problem:
        return Problem(
            op="forward", H=self.H, HV=self.HV, K=self.K, V=self.V, dtype=self.dtype,
            tokens=self.B * self.T, sequences=self.sizes.N,
            rule=Rule(self._gates, self.delta),
            varlen=self.offsets is not None,
            initial_state=self.initial_state, final_state=self.final_state,
        )  # fmt: skip

    @property
    def _gates(self) -> str:
        if self.gate == "none":
            return "none"
        return "vector" if self.vector else "scalar"

    @property
    def sizes(self) -> Sizes:
        if self.offsets is None:
            return Sizes(B=self.B, T=self.T, N=self.B, NT=-(-self.T // self.BT))
        chunks = sum(-(-(b - a) // self.BT) for a, b in pairwise(self.offsets))
        return Sizes(B=1, T=self.T, N=len(self.offsets) - 1, NT=chunks)

    @property
    def covered(self) -> int:
        """Tokens of a row that belong to a sequence."""
        return self.T if self.offsets is None else self.offsets[-1]

    def chunks(self) -> Iterator[tuple[int, int, slice, int, int]]:
        """Each chunk: row in h, row of the call, its tokens, sequence, chunk in the sequence."""
        spans = [(b, 0, self.T) for b in range(self.B)]
        if self.offsets is not None:
            spans = [(0, start, end) for start, end in pairwise(self.offsets)]
        row = 0
        for n, (b, start, end) in enumerate(spans):
            for i_t, t in enumerate(range(start, end, self.BT)):
                yield row, b, slice(t, min(t + self.BT, end)), n, i_t
                row += 1

    def inputs(self, seed: int = 0) -> dict[str, Tensor]:
        """q, k, v, g, beta (near 0 to near 2), h0 and the tables of packed sequences, in fp64.

        What a dtype of 16 bits would round is rounded; tokens of no sequence are NaN.
        """
        torch.manual_seed(seed)
        B, T, N = self.sizes.B, self.T, self.sizes.N
        x = {
            "q": normalize(torch.randn(B, T, self.H, self.K), dim=-1),
            "k": normalize(torch.randn(B, T, self.H, self.K), dim=-1),
            "v": torch.randn(B, T, self.HV, self.V),
            "g": -GATES.get(self.gate, 0.0) * torch.rand(B, T, self.HV, *[self.K] * self.vector),
            "beta": 2 * torch.rand(B, T, self.HV),
            "h0": torch.randn(N, self.HV, self.K, self.V),
        }
        for name in ("q", "k", "v"):
            x[name] = x[name].to(torch_dtype(self.dtype))
        for name in ("q", "k", "v", "g", "beta"):
            x[name][:, self.covered :] = float("nan")
        return {name: value.double() for name, value in x.items()}

    def tables(self) -> dict[str, Tensor]:
        """cu_seqlens, chunk_indices and chunk_offsets, where the sequences are packed."""
        if self.offsets is None:
            return {}
        numbers = [(n, i_t) for _, _, _, n, i_t in self.chunks()]
        counts = [sum(n == m for m, _ in numbers) for n in range(self.sizes.N)]
        return {
            "cu_seqlens": torch.tensor(self.offsets, dtype=torch.int32),
            "chunk_indices": torch.tensor(numbers, dtype=torch.int32),
            "chunk_offsets": torch.tensor([0, *counts], dtype=torch.int32).cumsum(0).int(),
        }

    def with_(self, **changes: object) -> SplitCase:
        return replace(self, **changes)  # type: ignore[arg-type]


def torch_dtype(name: str) -> torch.dtype:
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def with_w_u(case: SplitCase, x: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add gc, w and u, in fp64; without the delta u is v, and a token reads nothing (w = 0)."""
    gc, u = torch.full_like(x["g"], float("nan")), torch.full_like(x["v"], float("nan"))
    w = u.new_full((*u.shape[:3], case.K), float("nan"))
    for _, b, t, _, _ in case.chunks():
        gc[b, t] = x["g"][b, t].cumsum(0)
        if not case.delta:
            w[b, t], u[b, t] = 0.0, x["v"][b, t]
            continue
        k = _per_value_head(case, x["k"][b, t])
        L = torch.einsum("ihk,jhk->hij", k, k) * _decay(gc[b, t]) * x["beta"][b, t].T[..., None]
        beta = x["beta"][b, t][..., None]
        rhs = torch.cat([beta * gc[b, t].exp()[..., None] * k, beta * x["v"][b, t]], dim=-1)
        solved = torch.linalg.solve_triangular(
            L.tril(-1), rhs.transpose(0, 1), upper=False, unitriangular=True
        ).transpose(0, 1)
        w[b, t], u[b, t] = solved.split([case.K, case.V], dim=-1)
    return {**x, "gc": gc, "w": w, "u": u}


def state_of(case: SplitCase, x: dict[str, Tensor]) -> dict[str, Tensor]:
    """h, v_new and ht from k, w, u, gc and h0."""
    shape = (case.HV, case.K, case.V)
    h = x["w"].new_zeros(len(list(case.chunks())), *shape)
    v_new = torch.full_like(x["u"], float("nan"))
    S = x["h0"].clone() if case.initial_state else torch.zeros_like(x["h0"])
    for row, b, t, n, _ in case.chunks():
        h[row] = S[n]
        v_new[b, t] = x["u"][b, t] - torch.einsum("thk,hkv->thv", x["w"][b, t], S[n])
        last = x["gc"][b, t][-1]
        writes = (last - x["gc"][b, t]).exp()[..., None] * v_new[b, t]
        k = _per_value_head(case, x["k"][b, t])
        S[n] = last.exp()[:, None, None] * S[n] + torch.einsum("thk,thv->hkv", k, writes)
    return {"h": h, "v_new": v_new, "ht": S}


def output_of(case: SplitCase, x: dict[str, Tensor], scale: float) -> Tensor:
    """o from q, k, v_new, h and gc."""
    o = torch.full_like(x["v_new"], float("nan"))
    for row, b, t, _, _ in case.chunks():
        q, k = (_per_value_head(case, x[name][b, t]) for name in ("q", "k"))
        A = torch.einsum("ihk,jhk->hij", q, k) * _decay(x["gc"][b, t])
        inter = torch.einsum("thk,hkv->thv", q, x["h"][row]) * x["gc"][b, t].exp()[..., None]
        o[b, t] = scale * (inter + torch.einsum("hij,jhv->ihv", A, x["v_new"][b, t]))
    return o


def _per_value_head(case: SplitCase, x: Tensor) -> Tensor:
    return x.repeat_interleave(case.HV // case.H, dim=1)


def _decay(gc: Tensor) -> Tensor:
    """[t, HV] -> [HV, t, t], exp(gc_i - gc_j) for i >= j, else 0."""
    gap = gc.T[:, :, None] - gc.T[:, None, :]
    lower = torch.ones(gap.shape[-2:], dtype=torch.bool).tril()
    return torch.where(lower, gap, float("-inf")).exp()
