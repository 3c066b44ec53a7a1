"""Operands that the patched interpreter fits to each other are those that Triton's own gives."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime.interpreter import TensorHandle, _get_np_dtype, interpreter_semantic

from gdn_ops.codegen.interpreter.patches import patch_interpreter

pytestmark = pytest.mark.triton

TYPES = (tl.float32, tl.float16, tl.bfloat16, tl.int32, tl.int64, tl.uint32, tl.int1)
POINTER = tl.pointer_type(tl.float32)
SIZES = ((), (4,), (4, 1), (1, 8), (4, 8), (2, 4, 8), (4, 4))
NUMBERS = (2, -3, 0, 0.0, -0.0, 0.5, float("inf"), True, 2**40, 1e300)


@pytest.fixture(autouse=True)
def patched() -> None:
    patch_interpreter()


def tensor(kind: Any, sizes: tuple[int, ...]) -> Any:
    data = np.arange(1, 1 + int(np.prod(sizes))).astype(_get_np_dtype(kind))
    block = tl.block_type(kind, list(sizes)) if sizes else kind
    return tl.core.tensor(TensorHandle(data.reshape(sizes or (1,)), kind), block)


def told(method: Any, *arguments: Any) -> Any:
    """What a method gives or raises, in values that can be compared."""
    try:
        with np.errstate(over="ignore"):
            results = method(interpreter_semantic, *arguments)
    except Exception as error:
        return type(error).__name__, str(error)
    return [described(x) for x in (results if isinstance(results, tuple) else (results,))]


def described(x: Any) -> tuple[Any, ...]:
    sizes = [int(size) for size in x.shape]
    data = np.broadcast_to(x.handle.data, sizes or (1,))
    return str(x.type), str(x.dtype), sizes, data.dtype, str(x.handle.dtype), data.tobytes()


@pytest.mark.parametrize("flags", [(), (True, True), (False, False, True, True)])
def test_operands_of_a_binary_operator(flags: tuple[bool, ...]) -> None:
    ours = TritonSemantic.binary_op_type_checking_impl
    tensors = [tensor(kind, sizes) for kind in (*TYPES, POINTER) for sizes in SIZES]
    pairs = [(a, b) for a, b in product(tensors, tensors) if a.shape or b.shape]
    pairs += [(a, n) for a, n in product(tensors, NUMBERS)] + [
        (n, a) for a, n in product(tensors, NUMBERS)
    ]
    refused = 0
    for left, right in pairs:
        expected = told(ours.theirs, left, right, *flags)
        refused += isinstance(expected, tuple)
        for _ in range(2):  # the second time a number is remembered
            assert told(ours, left, right, *flags) == expected, (left.type, right)
    assert 0 < refused < len(pairs) // 2


def test_operands_that_are_broadcast() -> None:
    ours = TritonSemantic.broadcast_impl_value
    for kinds in ((tl.float32, tl.int1), (POINTER, tl.int32), (tl.bfloat16, POINTER)):
        for a, b in product(SIZES, SIZES):
            pair = tensor(kinds[0], a), tensor(kinds[1], b)
            assert told(ours, *pair) == told(ours.theirs, *pair)


def test_dimensions_that_are_added() -> None:
    ours = TritonSemantic.expand_dims
    for kind, sizes in product((tl.float32, tl.int1, POINTER), SIZES):
        for axis in range(len(sizes) + 2):
            block = tensor(kind, sizes)
            assert told(ours, block, axis) == told(ours.theirs, block, axis), (sizes, axis)


def test_a_remembered_number_cannot_be_written() -> None:
    _, number = interpreter_semantic.binary_op_type_checking_impl(tensor(tl.float32, (4,)), 7.5)
    with pytest.raises(ValueError, match="read-only"):
        number.handle.data[0] = 1.0
