"""What every stage of the backward computes, in fp64 by plain PyTorch on top of a SplitCase."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS
from tests.codegen.kernels.split_case import SplitCase, state_of, torch_dtype, with_w_u
from tests.codegen.kernels.wy import decay, inverse_of
from tests.codegen.reads import reads_inside
from tests.stage_runner import run_stage

SCALE = 0.37


def backward_problem(case: SplitCase) -> Problem:
    """The problem of the case's gradients; its ``final_state`` says that dht is given."""
    return case.problem.backward(final_state=case.final_state)


def run_backward(
    spec: KernelSpec, case: SplitCase, x: dict[str, Tensor], folder: Path, **axes: Value
) -> dict[str, Tensor]:
    """A stage's outputs in a case; axes that are not given take the default of the case."""
    problem = backward_problem(case)
    interface = defaults(PLANS["split"].axes)
    config = {**interface, **spec.default(problem), "BT": case.BT, **axes}
    typed = {
        name: value.to(torch_dtype(TENSORS[name].element(problem, config).name))
        for name, value in x.items()
    }
    tensors = {**typed, **case.tables()}
    given: dict[str, Tensor | float | int] = {**tensors, "T": case.T, "scale": SCALE}
    with reads_inside(tensors.values()):
        return run_stage(spec, problem, config, given=given, sizes=case.sizes, folder=folder)


def rounded(
    case: SplitCase, x: dict[str, Tensor], names: tuple[str, ...], *, store: str = "io"
) -> dict[str, Tensor]:
    """x with gc, dht and h0 rounded to fp32 and the named intermediates as a stage gets them."""
    kept = torch_dtype("fp32" if store == "fp32" else case.dtype)
    fp32 = {name: x[name].float().double() for name in ("gc", "dht", "h0")}
    return {**x, **fp32, **{name: x[name].to(kept).double() for name in names}}


def backward_inputs(case: SplitCase, seed: int = 0) -> dict[str, Tensor]:
    """The call's inputs, what its forward leaves (gc, w, u, A with the decay in it, h, v_new, ht)
    and the gradients do (rounded like q) and dht, in fp64; do is NaN at tokens of no sequence."""
    x = with_w_u(case, case.inputs(seed))
    x |= state_of(case, x)
    x["A"] = inverse_of(case, x, gate_free=False)
    do = torch.randn(x["v"].shape).to(torch_dtype(case.dtype)).double()
    do[:, case.covered :] = float("nan")
    return {**x, "do": do, "dht": torch.randn(x["h0"].shape).double()}


def all_gradients(case: SplitCase, x: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Every stage on the exact outputs of those before it: all that the functions below return."""
    x = {**x, "dv_local": dv_local_of(case, x, scale)}
    x |= dstate_of(case, x, scale)
    found = grads_of(case, x, scale)
    names = ("dv_local", "dv_new", "dh", "dh0")
    return {**{name: x[name] for name in names}, **found, "dg": dg_of(case, found["dgc"])}


def dv_local_of(case: SplitCase, x: dict[str, Tensor], scale: float) -> Tensor:
    """dv_local from q, k, gc and do."""
    dv_local = torch.full_like(x["do"], float("nan"))
    for _, b, t, _, _ in case.chunks():
        q, k = (_per_value_head(case, x[name][b, t]) for name in ("q", "k"))
        P = scale * torch.einsum("ihk,jhk->ihj", q, k) * decay(x["gc"][b, t])
        dv_local[b, t] = torch.einsum("ihj,ihv->jhv", P, x["do"][b, t])
    return dv_local


def dstate_of(case: SplitCase, x: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """dv_new, dh and dh0 from q, k, w, gc, do, dv_local and, with a final state, dht."""
    chunks = list(case.chunks())
    dS = x["dht"].clone() if case.final_state else torch.zeros_like(x["dht"])
    dh = dS.new_zeros(len(chunks), *dS.shape[1:])
    dv_new = torch.full_like(x["do"], float("nan"))
    for row, b, t, n, _ in reversed(chunks):
        q, k = (_per_value_head(case, x[name][b, t]) for name in ("q", "k"))
        gc, w, do = x["gc"][b, t], x["w"][b, t], x["do"][b, t]
        dh[row] = dS[n]
        later = torch.einsum("thk,hkv->thv", k, dS[n]) * (gc[-1] - gc).exp()[..., None]
        dv_new[b, t] = x["dv_local"][b, t] + later
        reads = torch.einsum("thk,thv->hkv", scale * gc.exp()[..., None] * q, do)
        writes = torch.einsum("thk,thv->hkv", w, dv_new[b, t])
        dS[n] = gc[-1].exp()[:, None, None] * dS[n] + reads - writes
    return {"dv_new": dv_new, "dh": dh, "dh0": dS}


def grads_of(
    case: SplitCase, x: dict[str, Tensor], scale: float, *, gate_free: bool = False
) -> dict[str, Tensor]:
    """dq_heads, dk_heads, dq, dk, dv, dbeta and dgc from q, k, v, gc, beta, A, h, v_new, do, dh
    and dv_new; ``gate_free`` says that A came without the decay in it.

    dbeta is NaN without the delta.
    """
    q, k = (_per_value_head(case, x[name]) for name in ("q", "k"))
    found = {name: torch.full_like(q, float("nan")) for name in ("dq_heads", "dk_heads")}
    found |= {"dv": torch.full_like(x["v"], float("nan"))}
    found |= {name: torch.full_like(x["g"], float("nan")) for name in ("dbeta", "dgc")}
    rows = {**x, "q": q, "k": k}
    for row, b, t, _, _ in case.chunks():
        names = ("q", "k", "v", "gc", "beta", "A", "v_new", "do", "dv_new")
        chunk = {name: rows[name][b, t] for name in names}
        states = {"h": x["h"][row], "dh": x["dh"][row]}
        of_chunk = _chunk_grads if case.delta else _linear_grads
        for name, value in of_chunk({**chunk, **states}, scale, gate_free).items():
            found[name][b, t] = value
    dq, dk = (_per_key_head(case, found[name]) for name in ("dq_heads", "dk_heads"))
    return {**found, "dq": dq, "dk": dk}


def dg_of(case: SplitCase, dgc: Tensor) -> Tensor:
    """dg from dgc: the sum from each token to the end of its chunk."""
    dg = torch.full_like(dgc, float("nan"))
    for _, b, t, _, _ in case.chunks():
        dg[b, t] = dgc[b, t].flip(0).cumsum(0).flip(0)
    return dg


def _chunk_grads(x: dict[str, Tensor], scale: float, gate_free: bool) -> dict[str, Tensor]:
    """One chunk, all heads: tokens are [t, HV, ...], h and dh [HV, K, V]."""
    q, k, n, do, gc, beta = x["q"], x["k"], x["v_new"], x["do"], x["gc"], x["beta"][..., None]
    G, gamma, tail = decay(gc), gc.exp()[..., None], (gc[-1] - gc).exp()[..., None]
    A = x["A"][..., : len(gc)] * (G if gate_free else 1.0)
    dX = torch.einsum("ihj,ihv->jhv", A, x["dv_new"])
    strict = torch.ones(len(gc), len(gc), dtype=G.dtype).tril(-1)[:, None]
    M_L = -torch.einsum("ihv,jhv->ihj", dX, n) * G * strict
    M_P = scale * torch.einsum("ihv,jhv->ihj", do, n) * G
    Z = torch.einsum("ihj,jhk->ihk", M_L, k) - gamma * torch.einsum("ihv,hkv->ihk", dX, x["h"])
    dq = scale * gamma * torch.einsum("ihv,hkv->ihk", do, x["h"])
    dq = dq + torch.einsum("ihj,jhk->ihk", M_P, k)
    after = tail * torch.einsum("ihv,hkv->ihk", n, x["dh"])
    reads = beta * Z
    writes = torch.einsum("ihj,ihk->jhk", M_P, q) + after
    writes = writes + torch.einsum("ihj,ihk->jhk", M_L, beta * k)
    dgc = (q * dq + k * reads - k * writes).sum(-1)
    dgc[-1] += (k * after).sum((0, 2)) + gc[-1].exp() * (x["h"] * x["dh"]).sum((1, 2))
    return {
        "dq_heads": dq,
        "dk_heads": reads + writes,
        "dv": beta * dX,
        "dbeta": (dX * x["v"]).sum(-1) + (k * Z).sum(-1),
        "dgc": dgc,
    }


def _linear_grads(x: dict[str, Tensor], scale: float, gate_free: bool) -> dict[str, Tensor]:
    """The same without the delta, where v is written as it is."""
    q, k, v, do, gc = x["q"], x["k"], x["v"], x["do"], x["gc"]
    G, gamma, tail = decay(gc), gc.exp()[..., None], (gc[-1] - gc).exp()[..., None]
    M = scale * torch.einsum("ihv,jhv->ihj", do, v) * G
    dq = scale * gamma * torch.einsum("ihv,hkv->ihk", do, x["h"])
    dq = dq + torch.einsum("ihj,jhk->ihk", M, k)
    after = tail * torch.einsum("ihv,hkv->ihk", v, x["dh"])
    dk = torch.einsum("ihj,ihk->jhk", M, q) + after
    dgc = (q * dq - k * dk).sum(-1)
    dgc[-1] += (k * after).sum((0, 2)) + gc[-1].exp() * (x["h"] * x["dh"]).sum((1, 2))
    return {"dq_heads": dq, "dk_heads": dk, "dv": x["dv_new"], "dgc": dgc}


def _per_value_head(case: SplitCase, x: Tensor) -> Tensor:
    return x.repeat_interleave(case.HV // case.H, dim=-2)


def _per_key_head(case: SplitCase, x: Tensor) -> Tensor:
    return x.view(*x.shape[:2], case.H, case.HV // case.H, x.shape[-1]).sum(3)
