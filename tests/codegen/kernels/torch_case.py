"""A call of a stage in plain PyTorch, and the recurrence in fp64 that it must follow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.launch.cpp import library
from gdn_ops.verify.poison import poisoned_memory
from tests.codegen.kernels.split_case import torch_dtype

SCALE = 0.37
PER_TOKEN = ("q", "k", "v", "g", "beta")
DIFFERENTIABLE = ("q", "k", "v", "g", "A_log", "dt_bias", "beta", "h0")


@dataclass(frozen=True, kw_only=True)
class TorchCase:
    """Sizes and values of a call; ``offsets`` packs sequences into one row of T tokens.

    Args:
        vector: whether every key channel decays on its own.
        delta: whether a token writes what the state does not hold yet, beta times, or its value.
        gate: ``none``, ``raw`` (with A_log), or how much a token decays at most: see ``_decays``.
    """

    B: int = 2
    T: int = 75
    H: int = 2
    HV: int = 4
    K: int = 16
    V: int = 24
    dtype: str = "fp32"
    gate: str = "model"
    vector: bool = False
    delta: bool = True
    bias: bool = True
    beta: float = 1.0
    states: bool = True
    offsets: tuple[int, ...] | None = None
    op: str = "forward"

    @property
    def N(self) -> int:
        return self.B if self.offsets is None else len(self.offsets) - 1

    @property
    def rule_gate(self) -> str:
        return "none" if self.gate == "none" else "vector" if self.vector else "scalar"

    @property
    def channels(self) -> tuple[int, ...]:
        """The gate's dimensions beside the head's."""
        return (self.K,) if self.vector else ()

    @property
    def problem(self) -> Problem:
        return Problem(
            op=self.op, H=self.H, HV=self.HV, K=self.K, V=self.V, dtype=self.dtype,
            tokens=self.B * self.T, sequences=self.N,
            varlen=self.offsets is not None,
            rule=Rule(self.rule_gate, self.delta),
            initial_state=self.states, final_state=self.states,
            gate_in_kernel=self.gate == "raw", dt_bias=self.gate == "raw" and self.bias,
        )  # fmt: skip

    @property
    def spec(self) -> KernelSpec:
        """The stage of plan torch that computes it."""
        (spec,) = PLANS["torch"].specs(self.problem)
        return spec

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Every tensor the stage may read; tokens of no sequence are NaN."""
        torch.manual_seed(self.T)
        B, T, dtype = self.B, self.T, torch_dtype(self.dtype)
        x = {
            "q": normalize(torch.randn(B, T, self.H, self.K), dim=-1).to(dtype),
            "k": normalize(torch.randn(B, T, self.H, self.K), dim=-1).to(dtype),
            "v": torch.randn(B, T, self.HV, self.V).to(dtype),
            "g": self._decays(),
            "beta": self.beta * torch.rand(B, T, self.HV).sqrt(),
        }
        if self.offsets is not None:
            for value in x.values():
                value[:, self.offsets[-1] :] = float("nan")
        return {
            **x,
            "h0": torch.randn(self.N, self.HV, self.K, self.V),
            "A_log": torch.randn(self.HV),
            "dt_bias": torch.randn(self.HV, *self.channels),
        }

    def _decays(self) -> Tensor:
        shape = (self.B, self.T, self.HV, *self.channels)
        if self.gate == "raw":
            return torch.randn(shape)
        if self.gate == "resets":  # the digits of weak decays behind strong ones
            strong = torch.rand(shape) < 0.3
            strong[:, : self.T // 3] = True
            return torch.where(strong, -80.0, -0.01 * torch.rand(shape))
        largest = {"none": 0.0, "open": 0.0, "model": 0.3, "strong": 80.0}[self.gate]
        return -largest * torch.rand(shape)

    def run(self, spec: KernelSpec, folder: Path, **axes: Value) -> dict[str, Tensor]:
        """Render the stage and run it on the inputs, in memory that holds NaN."""
        config = {**spec.default(self.problem), **axes}
        module = load_module(spec.name, render(spec, self.problem, config), folder)
        given = {**self.inputs, **self.cotangents, "offsets": self.offsets, "scale": SCALE}
        arguments = [given[name] for name in spec.arguments(self.problem, config)]
        function = getattr(module, spec.name)
        if spec.cpp:
            function = partial(function, library(module.SOURCE))
        with poisoned_memory() as guards:
            results = function(*arguments)
        assert not guards.overwritten()
        return dict(zip(spec.outputs(self.problem, config), results, strict=True))

    def expected(self) -> dict[str, Tensor]:
        """o and ht of the recurrence in fp64; o of tokens of no sequence is 0."""
        x = {name: value.double() for name, value in self.inputs.items()}
        if self.gate == "raw":
            a = x["g"] if self.offsets is None else x["g"][:, : self.offsets[-1]]
            rate = x["A_log"].exp().view(self.HV, *[1] * len(self.channels))
            x["g"] = -rate * softplus(a + x["dt_bias"] if self.bias else a)
        x["h0"] = x["h0"] if self.states else torch.zeros_like(x["h0"])
        if not self.delta:
            del x["beta"]
        if self.offsets is None:
            o, ht = _recurrence(x, x["h0"])
            return {"o": o, "ht": ht}
        spans = [slice(bos, eos) for bos, eos in pairwise(self.offsets)]
        rows = [
            _recurrence({name: x[name][:, s] for name in PER_TOKEN if name in x}, h0[None])
            for s, h0 in zip(spans, x["h0"], strict=True)
        ]
        behind = x["v"].new_zeros(1, self.T - self.offsets[-1], self.HV, self.V)
        return {
            "o": torch.cat([*(o for o, _ in rows), behind], dim=1),
            "ht": torch.cat([ht for _, ht in rows]),
        }

    @cached_property
    def cotangents(self) -> dict[str, Tensor]:
        """Gradients of the outputs; do of tokens of no sequence is NaN."""
        torch.manual_seed(1)
        do = torch.randn(self.B, self.T, self.HV, self.V).to(torch_dtype(self.dtype))
        if self.offsets is not None:
            do[:, self.offsets[-1] :] = float("nan")
        return {"do": do, "dht": torch.randn(self.N, self.HV, self.K, self.V)}

    def expected_gradients(self) -> dict[str, Tensor]:
        """Autograd of the recurrence in fp64, of what takes part in it; NaN gives nothing."""
        leaves = {name: x.double().requires_grad_() for name, x in self.inputs.items()}
        case = replace(self)
        case.__dict__["inputs"] = leaves
        out = case.expected()
        loss = (out["o"] * self.cotangents["do"].nan_to_num().double()).sum()
        if self.states:
            loss = loss + (out["ht"] * self.cotangents["dht"].double()).sum()
        wanted = [leaves[name] for name in DIFFERENTIABLE]
        found = torch.autograd.grad(loss, wanted, allow_unused=True)
        return {f"d{n}": x for n, x in zip(DIFFERENTIABLE, found, strict=True) if x is not None}


def _recurrence(x: dict[str, Tensor], S: Tensor) -> tuple[Tensor, Tensor]:
    """S <- exp(g) S;  S <- S + k (beta (v - S^T k))^T;  o = scale S^T q; without beta + k v^T."""
    group = x["v"].shape[2] // x["q"].shape[2]
    q, k = (x[name].repeat_interleave(group, dim=2) for name in ("q", "k"))
    o = [x["v"][:, :0]]
    for t in range(q.shape[1]):
        decay = x["g"][:, t].exp()  # [N, HV], or [N, HV, K]
        S = decay.reshape(*decay.shape[:2], -1, 1) * S
        u = x["v"][:, t]
        if "beta" in x:
            u = x["beta"][:, t, :, None] * (u - torch.einsum("nhkv,nhk->nhv", S, k[:, t]))
        S = S + k[:, t, :, :, None] * u[:, :, None, :]
        o.append(SCALE * torch.einsum("nhkv,nhk->nhv", S, q[:, t])[:, None])
    return torch.cat(o, dim=1), S
