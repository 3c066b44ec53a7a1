"""Operands of operators in Triton's interpreter, made to fit each other with less work.

Most operations are on tensors of one type, whose shapes agree or broadcast, or on a tensor and a
number. Triton 3.6 to 3.9 ask each time what follows; that takes half of a kernel's time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

MOST_CONSTANTS = 4096
"""Numbers kept as tensors, in a process."""


def fit_operands_faster() -> None:
    """Decide at once what the operands of a common operation become, and leave others to Triton.

    Values, types and errors are Triton's. Further calls in the same process change nothing.
    """
    from triton.language.semantic import TritonSemantic

    if hasattr(TritonSemantic.broadcast_impl_value, "theirs"):
        return
    ours = {
        "broadcast_impl_value": _broadcast,
        "binary_op_type_checking_impl": _fit,
        "binary_op_sanitize_overflow_impl": _check_overflow,
        "expand_dims": _expand_dims,
    }
    for name, faster in ours.items():
        theirs = getattr(TritonSemantic, name)
        method = faster(theirs)
        method.theirs = theirs
        setattr(TritonSemantic, name, method)


def _broadcast(theirs: Any) -> Any:
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    tensor, block_type = tl.core.tensor, tl.core.block_type
    handle = interpreter.TensorHandle

    def stretched(x: Any, sizes: tuple[int, ...]) -> Any:
        kind = x.type.scalar
        if x.type is kind:
            data = np.empty(sizes, interpreter._get_np_dtype(kind))
            data[...] = x.handle.data
        elif x.type.sizes == sizes:
            return x
        else:
            data = np.broadcast_to(x.handle.data, sizes)
        return tensor(handle(data, x.handle.dtype), block_type(kind, sizes))

    def broadcast(self: Any, left: Any, right: Any) -> Any:
        a, b = left.type, right.type
        if type(self.builder) is not interpreter.InterpreterBuilder:
            return theirs(self, left, right)
        if type(a) is not block_type:
            if type(b) is not block_type or a.is_block():
                return theirs(self, left, right)
            return stretched(left, b.sizes), right
        if type(b) is not block_type:
            return theirs(self, left, right) if b.is_block() else (left, stretched(right, a.sizes))
        if a.sizes == b.sizes:
            return left, right
        sizes = _broadcast_sizes(a.sizes, b.sizes)
        if sizes is None:
            return theirs(self, left, right)
        return stretched(left, sizes), stretched(right, sizes)

    return broadcast


@lru_cache(maxsize=4096)
def _broadcast_sizes(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """The sizes of what both broadcast to; None if their numbers differ or they do not fit."""
    if len(a) != len(b) or any(1 not in (x, y) and x != y for x, y in zip(a, b, strict=True)):
        return None
    return tuple(map(max, a, b))


def _fit(theirs: Any) -> Any:
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    tensor, dtype, pointer_type = tl.core.tensor, tl.dtype, tl.core.pointer_type
    constants: dict[Any, Any] = {}

    def fits(left: Any, right: Any, allow_pointer: bool) -> bool:
        a, b = left.dtype, right.dtype
        if type(a) is dtype:
            return a is b
        return allow_pointer and type(a) is pointer_type and type(b) is dtype and b.is_int()

    def fit(self: Any, left: Any, right: Any, *flags: Any, **named: Any) -> Any:
        # the fourth flag, or a named one, says that a division may widen its operands
        if len(flags) == 4 or named or type(self.builder) is not InterpreterBuilder:
            return theirs(self, left, right, *flags, **named)
        if type(left) is tensor and type(right) is tensor:
            if fits(left, right, flags[:1] == (True,)):
                return self.broadcast_impl_value(left, right)
            return theirs(self, left, right, *flags)
        number, other = (right, left) if type(left) is tensor else (left, right)
        plain = type(other) is tensor and type(other.dtype) is dtype
        # a float that is zero is left out, for its sign
        if not plain or not (type(number) is int or (type(number) is float and number)):
            return theirs(self, left, right, *flags)
        key = (number, type(number), other.type.name)
        found = constants.get(key)
        if found is not None:
            return (left, found) if other is left else (found, right)
        fitted = theirs(self, left, right, *flags)
        changed, kept = fitted if number is left else fitted[::-1]
        if kept is other:
            if len(constants) == MOST_CONSTANTS:
                constants.clear()
            changed.handle.data.flags.writeable = False
            constants[key] = changed
        return fitted

    return fit


def _check_overflow(theirs: Any) -> Any:
    from triton.runtime.interpreter import InterpreterBuilder

    def check(self: Any, left: Any, right: Any, operator: Any) -> None:
        # Triton computes whether integers overflow also where it then drops the answer
        if type(self.builder) is not InterpreterBuilder or self.builder.options.debug:
            theirs(self, left, right, operator)

    return check


def _expand_dims(theirs: Any) -> Any:
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    block_type = tl.core.block_type

    def expand(self: Any, input: Any, axis: int) -> Any:
        kind = input.type
        known = type(kind) is block_type and 0 <= axis <= len(kind.sizes)
        if not known or type(self.builder) is not InterpreterBuilder:
            return theirs(self, input, axis)
        sizes = (*kind.sizes[:axis], 1, *kind.sizes[axis:])
        data = input.handle.data[(*[slice(None)] * axis, None)]
        return tl.core.tensor(TensorHandle(data, kind.scalar), block_type(kind.scalar, sizes))

    return expand
