"""Launching a compiled Triton kernel again without Triton's own look-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

INT32 = 2**31 - 1
ALIGNED = 15
"""The bits of an address that are zero if it is a multiple of 16 bytes."""


class KernelLaunch:
    """A jitted function with its launch options and the kernels compiled from it.

    Before each launch Triton inspects every argument, option and global variable, which takes
    longer than many kernels run. For a rendered function only these can differ between two
    launches: the device, the dtypes, the integers that Triton specialises on, and whether every
    pointer is a multiple of 16 bytes. This class looks only at these; a launch with an unaligned
    pointer goes through Triton.

    Args:
        function: the rendered function, jitted or interpreted.
        options: launch options such as ``num_warps``.
    """

    def __init__(self, function: Any, options: Mapping[str, Any]) -> None:
        self._function, self._options = function, dict(options)
        self._kernels: dict[tuple[Any, ...], Any] = {}
        # By parameter: whether Triton does not specialise on its value. The functions of the
        # interpreter have no ``params``; they compile nothing.
        self._unspecialised = [p.do_not_specialize for p in getattr(function, "params", ())]

    def __call__(self, grid: Sequence[int], arguments: Sequence[Any], device: int | None) -> None:
        """Launch on the current stream of the current device.

        Args:
            grid: the number of programs in one to three dimensions.
            arguments: tensors and numbers, in the function's order.
            device: index of the current GPU; None on a CPU.
        """
        key, values, addresses = [device], [], 0
        for x, unspecialised in zip(arguments, self._unspecialised, strict=False):
            if isinstance(x, Tensor):
                address = x.data_ptr()
                addresses |= address
                key.append(x.dtype)  # type: ignore[arg-type]
                values.append(address)
            else:
                if type(x) is int:
                    wide = x > INT32
                    key.append(wide if unspecialised else (wide, x == 1, x % 16 == 0))  # type: ignore[arg-type]
                values.append(x)
        name = tuple(key)
        kernel = self._kernels.get(name) if not addresses & ALIGNED else None
        if kernel is not None:
            kernel[(*grid, 1, 1)[:3]](*values)
            return
        kernel = self._function[tuple(grid)](*arguments, **self._options)
        if kernel is not None and not addresses & ALIGNED:  # None: the interpreter
            self._kernels[name] = kernel
