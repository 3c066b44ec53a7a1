"""Calls inside transforms of torch.func, with dual tensors and with fake tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap
from torch.utils._pytree import tree_leaves

import gdn_ops
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.reference import gated_delta_rule_reference
from tests.gdn_ops.ops.calls import call

OFFSETS = torch.tensor([0, 5, 7])
ALL = (0, 1, 2, 3, 4)


def inputs(B: int = 2) -> tuple[Tensor, ...]:
    x = call(B=B, T=9, H=1, HV=2, V=16)
    return tuple(x[name] for name in ("q", "k", "v", "g", "beta"))


def ours(*x: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
    more = {"use_qk_l2norm_in_kernel": True, "cu_seqlens": cu_seqlens}
    return gdn_ops.chunk_gated_delta_rule(*x, **more)[0]  # type: ignore[arg-type]


def exact(*x: Tensor, cu_seqlens: Tensor | None = None) -> Tensor:
    wide = (y.double() for y in x)
    more = {"use_qk_l2norm_in_kernel": True, "cu_seqlens": cu_seqlens}
    return gated_delta_rule_reference(*wide, **more)[0]  # type: ignore[arg-type]


def packed(rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *x: rule(*(y[:1] for y in x), cu_seqlens=OFFSETS)


def squares(rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *x: rule(*x).square().sum()


def rows(rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A rule on one sequence, for vmap over a batch."""
    return lambda *x: rule(*(y[None] for y in x))[0]


TRANSFORMS: dict[str, Callable[[Callable[..., Tensor]], Callable[..., Any]]] = {
    "grad": lambda rule: grad(squares(rule), argnums=ALL),
    "grad of packed sequences": lambda rule: grad(squares(packed(rule)), argnums=ALL),
    "vmap": lambda rule: vmap(rows(rule)),
    "vmap of one of them": lambda rule: vmap(rows(rule), in_dims=(0, None, 0, 0, None)),
    "vmap of grad": lambda rule: vmap(grad(squares(rows(rule)), argnums=ALL)),
    "grad of vmap": lambda rule: grad(squares(vmap(rows(rule))), argnums=ALL),
    "jacrev": lambda rule: jacrev(lambda *x: rule(*x).sum(dim=(0, 1, 2))),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("warm", [False, True])
def test_reverse_mode_and_batches(name: str, warm: bool) -> None:
    x = inputs()
    if warm:
        ours(*x)
    if "one of them" in name:
        x = (x[0], x[1][0], *x[2:4], x[4][0])
    found, wanted = (TRANSFORMS[name](rule)(*x) for rule in (ours, exact))
    for got, ref in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        torch.testing.assert_close(got, ref.float(), rtol=1e-4, atol=1e-5)


FORWARD: dict[str, Callable[..., Any]] = {
    "jvp": lambda *x: jvp(ours, x, x),
    "jacfwd": lambda *x: jacfwd(ours)(*x),
    "hessian": lambda *x: hessian(lambda q: squares(ours)(q, *x[1:]))(x[0]),
}


@pytest.mark.parametrize("name", FORWARD)
def test_forward_mode_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedProblem, match=r"forward-mode .* give float64"):
        FORWARD[name](*inputs())


@pytest.mark.parametrize("warm", [False, True])
def test_only_dual_tensors_are_refused_inside_a_dual_level(warm: bool) -> None:
    x = inputs()
    with forward_ad.dual_level():
        if warm:
            assert torch.equal(ours(*x), ours(*x))
        dual = forward_ad.make_dual(x[2], x[2])
        with pytest.raises(UnsupportedProblem, match="forward-mode"):
            ours(*x[:2], dual, *x[3:])


def test_float64_supports_every_mode_of_differentiation() -> None:
    x = tuple(y.double() for y in inputs())
    for found, wanted in ((jvp(ours, x, x), jvp(exact, x, x)),
                          (hessian(lambda q: squares(ours)(q, *x[1:]))(x[0]),
                           hessian(lambda q: squares(exact)(q, *x[1:]))(x[0]))):  # fmt: skip
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_gradients_of_gradients_are_refused() -> None:
    x = inputs()

    def slope(q: Tensor) -> Tensor:
        return grad(lambda y: squares(ours)(y, *x[1:]))(q).square().sum()

    with pytest.raises(UnsupportedProblem, match="gradients of gradients"):
        grad(slope)(x[0])


def test_transforms_inside_a_compiled_function_are_refused() -> None:
    torch.compiler.reset()
    compiled = torch.compile(grad(squares(ours)), fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=r"UnsupportedProblem.*leave torch\.compile out"):
        compiled(*inputs())


@pytest.mark.parametrize("cu_seqlens", [None, OFFSETS])
def test_fake_tensors_give_the_shapes_of_the_call(cu_seqlens: Tensor | None) -> None:
    x = inputs(B=1)
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(y) for y in x]
        offsets = None if cu_seqlens is None else mode.from_tensor(cu_seqlens)
        leaf = fake[0].requires_grad_()
        o, state = gdn_ops.chunk_gated_delta_rule(
            *fake, output_final_state=True, cu_seqlens=offsets, use_qk_l2norm_in_kernel=True
        )
        o.sum().backward()
    real, real_state = gdn_ops.chunk_gated_delta_rule(
        *x, output_final_state=True, cu_seqlens=cu_seqlens
    )
    assert real_state is not None and state is not None
    for made, wanted in ((o, real), (state, real_state)):
        assert made.shape == wanted.shape and made.dtype == wanted.dtype
    assert leaf.grad is not None and leaf.grad.shape == leaf.shape


def test_an_invalid_call_is_refused_inside_a_transform() -> None:
    q, k, v, g, beta = inputs()
    with pytest.raises(InvalidInput, match="k has shape"):
        grad(lambda y: ours(y, k[:, :3], v, g, beta).sum())(q)
    mixed = (q, k, v.half(), g, beta)
    with FakeTensorMode() as mode, pytest.raises(InvalidInput, match=r"v is torch\.float16"):
        ours(*(mode.from_tensor(y) for y in mixed))
