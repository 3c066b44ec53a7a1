"""Launch a Triton kernel again without asking Triton again what it would compile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

INT32 = 2**31 - 1
ALIGNED = 15
"""Bits of an address that are zero at 16 bytes."""


class KernelLaunch:
    """A jitted function with its launch options, and the kernels that it was compiled to.

    Triton looks at every argument, option and global variable before each launch, which takes it
    longer than many a kernel runs. What of that can differ between two launches of a rendered
    function are the device, dtypes, whole numbers it specialises on, and pointers that are not
    aligned to 16 bytes; these alone are looked at here, and the last are left to Triton.

    Args:
        function: the rendered function, jitted or interpreted.
        options: num_warps and the like.
    """

    def __init__(self, function: Any, options: Mapping[str, Any]) -> None:
        self._function, self._options = function, dict(options)
        self._kernels: dict[tuple[Any, ...], Any] = {}
        # the interpreter's functions have no such parameters, and compile nothing
        self._general = [p.do_not_specialize for p in getattr(function, "params", ())]

    def __call__(self, grid: Sequence[int], arguments: Sequence[Any], device: int | None) -> None:
        """Launch on the current stream of the current device.

        Args:
            grid: one to three numbers of programs.
            arguments: tensors and numbers, in the function's order.
            device: index of the current GPU; None on a CPU.
        """
        key, values, addresses = [device], [], 0
        for x, general in zip(arguments, self._general, strict=False):
            if isinstance(x, Tensor):
                address = x.data_ptr()
                addresses |= address
                key.append(x.dtype)  # type: ignore[arg-type]
                values.append(address)
            else:
                if type(x) is int:
                    wide = x > INT32
                    key.append(wide if general else (wide, x == 1, x % 16 == 0))  # type: ignore[arg-type]
                values.append(x)
        name = tuple(key)
        kernel = self._kernels.get(name) if not addresses & ALIGNED else None
        if kernel is not None:
            kernel[(*grid, 1, 1)[:3]](*values)
            return
        kernel = self._function[tuple(grid)](*arguments, **self._options)
        if kernel is not None and not addresses & ALIGNED:  # the interpreter gives none
            self._kernels[name] = kernel
