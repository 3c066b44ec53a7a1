"""Products of a warp group, which run on until they are waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch

from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter.program import current, program
from gdn_ops.gluon_interpreter.shared_memory import Tile

TF32_BITS = 0x1FFF
"""The low bits of a float32 that tensor cores ignore."""


class Accumulator:
    """The result of a product that is in flight."""

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None

    def _refuse(self, *_: Any) -> NoReturn:
        raise KernelFault(f"{current().name} uses a product before it waited for it")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __neg__ = __getitem__ = _refuse


def product(
    a: Tile | torch.Tensor, b: Tile, acc: Accumulator | torch.Tensor, *, use_acc: bool
) -> Accumulator:
    """Start ``a b``, plus ``acc`` if ``use_acc``; operands are read until it is waited for."""
    me, out = current(), Accumulator()
    tiles = [x for x in (a, b) if isinstance(x, Tile)]
    event = program().new_event()
    what = f"a product of {me.name} reads"
    reads = [tile.read(f"{what} {tile.name}", event, me.clock, proxy=True) for tile in tiles]
    # where warps stored an operand, they wait for one another before the product
    me.joined = max([me.joined, *(tile.stored() for tile in tiles)])
    if not isinstance(b, Tile):
        raise KernelFault("the right operand of a product must be in shared memory")
    start = acc
    if isinstance(acc, torch.Tensor):
        check_shapes(a, b, acc)

    def finish() -> None:
        left = a.data if isinstance(a, Tile) else a
        total = rounded(left) @ rounded(b.data)
        if use_acc:
            before = start.value if isinstance(start, Accumulator) else start
            assert before is not None, "products finish in order"
            total = total + before
        out.value = total
        me.clock.add(event)
        for access in reads:
            access.step = me.step()

    me.products.append(finish)
    return out


def wait(left: int, deps: Sequence[Accumulator | torch.Tensor]) -> Any:
    """Wait until so many products are left in flight; returns the values of ``deps``."""
    me = current()
    me.finish(me.products, left)
    values = [dep.value if isinstance(dep, Accumulator) else dep for dep in deps]
    if any(value is None for value in values):
        raise KernelFault(f"{me.name} takes the value of a product that may still be in flight")
    return values[0] if len(values) == 1 else tuple(values)


def rounded(x: torch.Tensor) -> torch.Tensor:
    """An operand as tensor cores read it, in float32: of float32 the 10 bits of tf32."""
    if x.dtype != torch.float32:
        return x.float()
    bits = x.contiguous().view(torch.int32) & ~TF32_BITS
    return bits.view(torch.float32)


def check_shapes(a: Tile | torch.Tensor, b: Tile, acc: torch.Tensor) -> None:
    """Refuse operands whose product does not have the shape of its accumulator."""
    rows, inner = list(a.shape)
    if [inner, acc.shape[1]] != b.shape or rows != acc.shape[0]:
        raise KernelFault(
            f"a product of {list(a.shape)} and {b.shape} does not have the shape "
            f"{list(acc.shape)} of its accumulator"
        )
