"""Launching a compiled kernel again: which differences between launches need another kernel."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gdn_ops.launch.kernel_launch import KernelLaunch


class Function:
    """A jitted function of (x, y, T, stride, scale): T is general, stride is specialised on.

    Args:
        compiled: whether a launch gives a kernel, as it does but in the interpreter.
    """

    def __init__(self, *, compiled: bool = True) -> None:
        general = (False, False, True, False, False)
        self.params = [SimpleNamespace(do_not_specialize=each) for each in general]
        self.compiled, self.slow, self.fast = compiled, list[Any](), list[Any]()

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., Any]:
        def launch(*arguments: Any, **options: Any) -> Any:
            self.slow.append((grid, arguments, options))
            return Kernel(self, len(self.slow)) if self.compiled else None

        return launch


class Kernel:
    def __init__(self, function: Function, number: int) -> None:
        self.function, self.number = function, number

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *arguments: self.function.fast.append((self.number, grid, arguments))


@pytest.fixture
def function() -> Function:
    return Function()


def tensor(dtype: torch.dtype = torch.float32, offset: int = 0) -> Tensor:
    return torch.zeros(64, dtype=dtype)[offset:]


X, Y = tensor(), tensor()


def test_the_second_launch_bypasses_triton(function: Function) -> None:
    launch = KernelLaunch(function, {"num_warps": 4})
    for T in (7, 64, 1):
        launch((T, 2), [X, Y, T, 48, 0.5], 0)
    assert [(grid, options) for grid, _, options in function.slow] == [((7, 2), {"num_warps": 4})]
    addresses = (X.data_ptr(), Y.data_ptr())
    assert function.fast == [
        (1, (64, 2, 1), (*addresses, 64, 48, 0.5)),
        (1, (1, 2, 1), (*addresses, 1, 48, 0.5)),
    ]


@pytest.mark.parametrize(
    "other",
    [
        [tensor(torch.bfloat16), Y, 7, 48, 0.5],
        [X, tensor(torch.float64), 7, 48, 0.5],
        [X, Y, 2**31, 48, 0.5],
        [X, Y, 7, 47, 0.5],
        [X, Y, 7, 1, 0.5],
        [X, Y, 7, 2**32, 0.5],
    ],
    ids=["dtype", "dtype of another", "wide", "odd stride", "unit stride", "wide stride"],
)
def test_arguments_that_triton_specialises_on_select_another_kernel(
    function: Function, other: list[Any]
) -> None:
    launch = KernelLaunch(function, {})
    usual = [X, Y, 7, 48, 0.5]
    for arguments in (usual, other, usual, other):
        launch((1,), arguments, 0)
    assert len(function.slow) == 2
    assert [number for number, _, _ in function.fast] == [1, 2]


def test_each_gpu_has_its_own_kernel(function: Function) -> None:
    launch = KernelLaunch(function, {})
    for device in (0, 1, 0, 1):
        launch((1,), [X, Y, 7, 48, 0.5], device)
    assert len(function.slow) == 2 and [number for number, *_ in function.fast] == [1, 2]


def test_unaligned_pointers_go_through_triton(function: Function) -> None:
    launch = KernelLaunch(function, {})
    odd = tensor(offset=1)
    assert odd.data_ptr() % 16
    for x in (odd, X, odd, X):
        launch((1,), [x, Y, 7, 48, 0.5], 0)
    assert len(function.slow) == 3, "both of the odd one, and the first of the other"
    assert len(function.fast) == 1


def test_the_interpreter_runs_every_launch() -> None:
    function = Function(compiled=False)
    launch = KernelLaunch(function, {})
    for _ in range(3):
        launch((1,), [X, Y, 7, 48, 0.5], None)
    assert len(function.slow) == 3 and function.fast == []
