"""The patched interpreter rounds fp32 to bf16 as PyTorch and GPUs do, loops and masks as they do.

It patches the language once per launch.
"""

import inspect

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter

from gdn_ops.codegen.interpreter.patches import patch_interpreter

pytestmark = pytest.mark.triton


@triton.jit
def _store(x, y, N: tl.constexpr):  # type: ignore[no-untyped-def]
    o = tl.arange(0, N)
    tl.store(y + o, tl.load(x + o).to(tl.bfloat16))


def test_bf16_is_rounded_to_nearest_even() -> None:
    patch_interpreter()
    special = torch.tensor(
        [0.0, -0.0, float("inf"), -float("inf"), 1.00390625, 1.01171875, 3.99999]
    )
    x = torch.cat([special, torch.randn(2041) * 10 ** torch.linspace(-30, 30, 2041)])
    y = torch.empty(2048, dtype=torch.bfloat16)
    _store[(1,)](x, y, 2048)
    assert torch.equal(y, x.bfloat16())
    nan = torch.full((16,), float("nan"))
    _store[(1,)](nan, y, 16)
    assert y[:16].isnan().all()


@triton.jit
def _sum_to(n, y):  # type: ignore[no-untyped-def]
    total = 0
    for i in range(tl.load(n) + 1):
        total += i
    tl.store(y, total)


def test_a_loops_bound_is_a_value_of_the_kernel() -> None:
    """Under Triton 3.6 with NumPy 2.4 or later it was refused."""
    patch_interpreter()
    y = torch.zeros(1, dtype=torch.int32)
    _sum_to[(1,)](torch.tensor([6], dtype=torch.int32), y)
    assert y.item() == 21


@triton.jit
def _first(x, y, n, N: tl.constexpr):  # type: ignore[no-untyped-def]
    o = tl.arange(0, N)
    m = n > 0
    tl.store(y + o, tl.load(x + o, mask=m & (o < 3), other=-1.0))
    tl.store(y + N + o, tl.sum((o < n).to(tl.int32), axis=0) + o * 0)


def test_a_scalar_comparison_masks_a_block() -> None:
    """Under Triton 3.9 it was refused, for it was an int32 there."""
    patch_interpreter()
    x, y = torch.arange(4.0), torch.zeros(8)
    _first[(1,)](x, y, 2, 4)
    assert y.tolist() == [0, 1, 2, -1, 2, 2, 2, 2]
    _first[(1,)](x, y, 0, 4)
    assert y.tolist() == [-1, -1, -1, -1, 0, 0, 0, 0]


@triton.jit
def _sum_of_squares(x):  # type: ignore[no-untyped-def]
    return tl.sum(x * x, axis=0)


@triton.jit
def _sums(x, y, N: tl.constexpr):  # type: ignore[no-untyped-def]
    values = tl.load(x + tl.arange(0, N))
    for _ in range(3):
        values += tl.max(values, axis=0)
    tl.store(y, _sum_of_squares(values))


def _builtins() -> list[tuple[str, object]]:
    parts = (tl, tl.core, tl.math, tl.tensor)
    return [
        (name, member)
        for part in parts
        for name, member in inspect.getmembers(part, tl.core.is_builtin)
    ]


def test_a_launch_patches_each_part_of_the_language_once_and_restores_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patch_interpreter()
    before = _builtins()
    calls = []
    theirs = interpreter._patch_builtin
    monkeypatch.setattr(
        interpreter, "_patch_builtin", lambda part, *rest: (calls.append(part), theirs(part, *rest))
    )
    y = torch.zeros(1)
    for launch in (1, 2):
        _sums[(2,)](torch.tensor([1.0, 2.0]), y, 2)
        assert y.item() == 15**2 + 16**2
        assert calls.count(tl) == launch
        assert 0 < calls.count(tl.core) <= launch
    assert _builtins() == before


def test_a_launch_that_fails_restores_the_language() -> None:
    patch_interpreter()
    load = tl.load
    with pytest.raises(interpreter.InterpreterError):
        _sums[(1,)](torch.tensor([1.0, 2.0]), 1.5, 2)
    assert tl.load is load
    y = torch.zeros(1)
    _sums[(1,)](torch.tensor([1.0, 2.0]), y, 2)
    assert y.item() == 15**2 + 16**2


def test_types_that_are_made_once_say_what_each_of_their_own_would() -> None:
    patch_interpreter()
    for element in (tl.float32, tl.bfloat16, tl.int1, tl.pointer_type(tl.float16)):
        for shape in ([4], [2, 8], [8, 2]):
            first, second = tl.block_type(element, shape), tl.block_type(element, shape)
            assert first == second and [*second.shape] == shape
            assert (str(first), second.numel) == (str(second), shape[0] * (shape[1:] or [1])[0])
            assert second.scalar == element
            value = tl.tensor("handle", second)
            assert [int(size) for size in value.shape] == shape
            assert (value.handle, value.type, value.dtype) == ("handle", second, element)
        other = tl.tensor("scalar", element)
        assert (len(other.shape), other.handle, other.dtype) == (0, "scalar", element)
    assert tl.block_type(tl.float32, [4]) != tl.block_type(tl.float16, [4])


def test_a_value_of_gluon_keeps_its_shape_where_both_languages_are_in_use() -> None:
    """It got the shape of a scalar, so that no Gluon kernel compiled in a patched process."""
    from triton.experimental.gluon import language as gl

    patch_interpreter()
    tl.tensor("scalar", tl.float32)
    layout = gl.BlockedLayout([1], [32], [4], [0])
    value = gl.tensor("handle", gl.distributed_type(tl.float32, [128], layout))
    assert [int(size) for size in value.shape] == [128] and value.type.layout == layout
