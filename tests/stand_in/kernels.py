"""Triton on the stand-in GPU: kernels specialised as for an H200, run in the interpreter."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from bench.static.absent_gpu import AbsentDriver
from gdn_ops.codegen.interpreter.patches import patch_interpreter
from gdn_ops.codegen.targets import target_named
from tests.stand_in.gluon import interpreted, memory, on_cpu
from tests.stand_in.gpu import GPU
from tests.stand_in.tensor import plain

PRECISIONS = ("tf32", "tf32x3", "ieee", "bf16x3", "bf16x6")
"""Of products on an H200; the interpreter multiplies fp32 in one way."""

_dot = interpreter.InterpreterBuilder.create_dot
_binary = interpreter.InterpreterBuilder.binary_op
_launch = JITFunction.run


class Driver(AbsentDriver):
    def get_current_device(self) -> int:
        return GPU.current

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", GPU.current)


def install() -> None:
    driver.set_active(Driver(target_named("h200")))
    patch_interpreter()
    builder = interpreter.interpreter_builder
    builder.options = replace(builder.options, allowed_dot_input_precisions=PRECISIONS)
    interpreter.InterpreterBuilder.create_dot = dot
    interpreter.InterpreterBuilder.binary_op = binary
    JITFunction.run = launch
    JITFunction.__call__ = call


def launch(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
    """Start a kernel as ``JITFunction.run`` does, as far as its checks go, and interpret it."""
    if warmup:
        return _launch(kernel, *args, grid=grid, warmup=True, **options)
    for x in args:
        if isinstance(x, torch.Tensor) and x.device != torch.device("cuda", GPU.current):
            raise ValueError(
                f"Pointer argument cannot be accessed from Triton (a tensor of {x.device})"
            )
    _compile(kernel, args, options)
    compiled = (GluonKernel if kernel.is_gluon() else Kernel)(kernel.fn, args)
    compiled[grid](*args)
    return compiled


class Kernel:
    """What a function was compiled to: ``kernel[grid](*arguments)`` looks at none of them.

    Args:
        fn: the function.
        args: what it was compiled for; their dtypes stay.
    """

    def __init__(self, fn: Any, args: tuple[Any, ...]) -> None:
        self._fn = fn
        self._dtypes = [x.dtype if isinstance(x, torch.Tensor) else None for x in args]

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return partial(self._start, grid)

    def _start(self, grid: Any, *args: Any) -> None:
        """Tensors are given as such or by their addresses."""
        given = tuple(
            _at(x, dtype) if dtype is not None and isinstance(x, int) else plain(x)
            for x, dtype in zip(args, self._dtypes, strict=True)
        )
        run = interpreter.InterpretedFunction(self._fn).run
        GPU.do(lambda: run(*given, grid=grid, warmup=False))


class GluonKernel(Kernel):
    """A Gluon kernel, which its own interpreter runs."""

    def _start(self, grid: Any, *args: Any) -> None:
        given = tuple(
            memory(x, dtype) if dtype is not None and isinstance(x, int) else on_cpu(x)
            for x, dtype in zip(args, self._dtypes, strict=True)
        )
        run = interpreted(self._fn)
        GPU.do(lambda: run[grid](*given))


def _at(address: int, dtype: torch.dtype) -> torch.Tensor:
    """A tensor of one element at an address; a kernel finds the others by itself."""
    memory = (ctypes.c_char * dtype.itemsize).from_address(address)
    return torch.frombuffer(memory, dtype=dtype)


def call(function: Any, *args: Any, **options: Any) -> Any:
    """A function of Triton's library, or a helper, called from an interpreted kernel."""
    scope = interpreter._patch_lang(function.fn)
    try:
        return interpreter.InterpretedFunction(function.fn).rewrite()(*args, **options)
    finally:
        scope.restore()


def dot(builder: Any, a: Any, b: Any, d: Any, precision: Any, imprecise: Any) -> Any:
    """The interpreter's product, which takes bf16's bits for integers, of bf16 widened."""
    return _dot(builder, _widened(a), _widened(b), d, precision, imprecise)


def binary(builder: Any, x: Any, y: Any, op: Any) -> Any:
    """The interpreter's sums and the like, which take bf16's bits for integers, too."""
    if x.dtype.scalar != tl.bfloat16:
        return _binary(builder, x, y, op)
    out = _binary(builder, _widened(x), _widened(y), op)
    data = interpreter._convert_float(out.data, tl.float32, tl.bfloat16, None)
    return interpreter.TensorHandle(data, tl.bfloat16)


def _widened(x: Any) -> Any:
    if x.dtype.scalar != tl.bfloat16:
        return x
    data = interpreter._convert_float(x.data, tl.bfloat16, tl.float32, None)
    return interpreter.TensorHandle(data.view(np.float32), tl.float32)


def _compile(kernel: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """What a first launch with such arguments does, and no capture permits."""
    knobs = triton.knobs
    options = {
        **options, "debug": knobs.runtime.debug,
        "instrumentation_mode": knobs.compilation.instrumentation_mode,
    }  # fmt: skip
    known, _, _, backend, binder = kernel.device_caches[GPU.current]
    bound, specialization, rest = binder(*args, **options)
    key = repr((specialization, rest))
    if key in known:
        return
    if GPU.capturing:
        GPU.wait(f"compiling and loading {kernel.fn.__name__}")
    rest, signature, constants, attributes = kernel._pack_args(
        backend, options, bound, specialization, rest
    )
    if os.environ.get("GDN_STAND_IN") == "compile":
        kernel._do_compile(key, signature, GPU.current, constants, rest, attributes, False)
    known[key] = True
