"""Products into tensor memory (tcgen05), which run on until a barrier says that they are over.

One thread of a partition starts a product. The other warps may be behind it, so what they read of
the accumulator before is safe only if the warps have waited for one another since. Products may end
in any order, except those of one partition into one accumulator.
"""

from __future__ import annotations

from collections.abc import Sequence

from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter.barrier import Barrier
from gdn_ops.gluon_interpreter.products import check_shapes, rounded
from gdn_ops.gluon_interpreter.program import Partition, current, program
from gdn_ops.gluon_interpreter.shared_memory import Tile
from gdn_ops.gluon_interpreter.tensor_memory import TensorTile


def product(
    a: Tile, b: Tile, acc: TensorTile, *, use_acc: bool, barriers: Sequence[Barrier] = ()
) -> None:
    """Start ``acc = a b``, plus ``acc`` if ``use_acc``.

    Args:
        a: in tensor memory or in shared memory.
        b: in shared memory.
        barriers: arrived at when it and all that the partition started before are over.
    """
    me, here = current(), program()
    _check_operands(me, a, b, acc)
    event, clock = here.new_event(), me.clock.copy()
    if acc.last is not None and acc.last[0] is me:
        clock.add(acc.last[1])
    for tile in (a, b):
        tile.read(f"a product of {me.name} reads {tile.name}", event, clock, proxy=True)
    what = f"a product of {me.name} writes {acc.name}"
    _check_warps(me, acc, what)
    acc.write(what, event, clock, proxy=True)
    acc.last = me, event

    def run() -> None:
        total = rounded(a.data) @ rounded(b.data)
        acc.data.copy_(acc.data + total if use_acc else total)

    me.tensor_products.append(run)
    here.tensor_products.append((event, what))
    me.multiplied.join(clock)
    me.multiplied.add(event)
    for barrier in barriers:
        commit(barrier)


def commit(barrier: Barrier) -> None:
    """Arrive at a barrier when all products that the partition has started are over."""
    me = current()
    started, known = list(me.tensor_products), me.multiplied.copy()

    def finish() -> None:
        while me.tensor_products and me.tensor_products[0] in started:
            me.tensor_products.pop(0)()
        barrier.complete(f"a product of {me.name}", known)

    program().copies.append(finish)


def _check_operands(me: Partition, a: Tile, b: Tile, acc: TensorTile) -> None:
    if isinstance(b, TensorTile) or not isinstance(acc, TensorTile):
        raise KernelFault(
            f"a product of {me.name} reads {b.name} and writes {acc.name}; its right operand must "
            "be in shared memory and its accumulator in tensor memory"
        )
    if a.dtype != b.dtype:
        raise KernelFault(f"a product of {me.name} multiplies {a.dtype} and {b.dtype}")
    check_shapes(a, b, acc.data)


def _check_warps(me: Partition, acc: TensorTile, what: str) -> None:
    """Check that no other warp of the partition may still be reading the accumulator."""
    own = (x.step for x in acc.allocation.reads if x.actor == me.actor and not x.proxy)
    if me.joined < max(own, default=0):
        raise KernelFault(
            f"{what} while other warps of {me.name} may still read it; arrive at a barrier or "
            "store to tensor memory before"
        )
