"""What the stand-in GPU refuses, because a GPU would; skipped without it, see ``__main__``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

pytestmark = pytest.mark.skipif("GDN_STAND_IN" not in os.environ, reason="needs tests.stand_in")
WAITS: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "nonzero": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "tolist": lambda x: x.tolist(),
    "to the host": lambda x: x.cpu(),
    "from the host": lambda x: torch.tensor([1.0], device="cuda"),
    "copied from the host": lambda x: x.copy_(torch.ones(3)),
    "synchronize": lambda x: torch.cuda.synchronize(),
}


@triton.jit
def double(x, y):  # type: ignore[no-untyped-def]
    i = tl.program_id(0)
    tl.store(y + i, tl.load(x + i) * 2)


def captured(work: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = work()
    return graph, out


def test_tensors_of_two_devices_do_not_mix() -> None:
    x = torch.ones(3, device="cuda")
    for mixed in (lambda: x + torch.ones(3), lambda: torch.ones(3).add_(x)):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()  # type: ignore[no-untyped-call]
    assert (x * torch.tensor(2.0)).tolist() == [2.0] * 3, "numbers do"
    with pytest.raises(TypeError, match="can't convert cuda"):
        x.numpy()
    with pytest.raises(ValueError, match="cannot be accessed"):
        double[(3,)](torch.ones(3), x)


@pytest.mark.parametrize("name", WAITS)
def test_what_waits_breaks_a_capture(name: str) -> None:
    x = torch.ones(3, device="cuda")
    WAITS[name](x)
    with pytest.raises(RuntimeError, match="previous error during capture") as caught:
        captured(lambda: WAITS[name](x))
    assert "not permitted" in str(caught.value.__context__)
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchronizing"):
            WAITS[name](x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_graph_works_on_the_memory_it_was_captured_on() -> None:
    x, y = torch.ones(3, device="cuda"), torch.zeros(3, device="cuda")
    double[(3,)](x, y)

    def work() -> torch.Tensor:
        double[(3,)](x, y)
        return (y + torch.zeros(3, device="cuda")).add_(1)

    y.zero_()
    graph, out = captured(work)
    assert y.tolist() == [0.0] * 3, "nothing runs in a capture"
    assert out.isnan().all(), "nor is anything there yet"
    for n in (1.0, 5.0):
        x.fill_(n)
        graph.replay()
        assert out.tolist() == [2 * n + 1] * 3


def test_no_kernel_is_compiled_in_a_capture() -> None:
    x = torch.ones(3, device="cuda", dtype=torch.float64)
    with pytest.raises(RuntimeError, match="previous error") as caught:
        captured(lambda: double[(3,)](x, torch.zeros_like(x)))
    assert "compiling and loading double" in str(caught.value.__context__)


def test_gradients_are_taken_on_a_thread_without_our_variables() -> None:
    mode, seen = ContextVar("mode", default="usual"), list[str]()

    class Spy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            seen.append(mode.get())
            return grad

    mode.set("other")
    leaf = torch.ones(3, requires_grad=True)
    Spy.apply(leaf.cuda()).sum().backward()  # type: ignore[no-untyped-call]
    assert seen == ["usual"]
    assert leaf.grad is not None and leaf.grad.device.type == "cpu"


def test_children_find_it() -> None:
    code = "import torch; print(torch.zeros(1, device='cuda').device)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "cuda:0"
