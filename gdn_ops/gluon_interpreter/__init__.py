"""An interpreter of Gluon kernels for machines without a GPU, as strict as a GPU is silent.

A kernel rendered for it imports ``gluon``, ``language`` and ``hopper`` or ``blackwell`` from here
instead of Triton. Its partitions run as threads, one at a time, in an order that a seed decides.
Asynchronous copies and products are done as late as their kernel allows. What a GPU would silently
get wrong is a ``KernelFault``:

- a tile of shared or tensor memory that is read before what was written to it must have arrived
- a tile that is overwritten while a copy, a product or another partition may still read it, or
  another warp of the partition a part of its product
- what the threads wrote, read by a copy or a product without a fence
- a product that is used before it was waited for, or that the kernel never waits for
- barriers that complete twice before anybody waited, never, or not at the end
- an access outside a tensor

Whether an access must come after another does not depend on the order that the seed gives: it is
derived from barriers, fences and waits alone (``clock.py``). Layouts, swizzles and registers are
not seen; the compiler checks them.
"""

from gdn_ops.gluon_interpreter.schedule import scheduled

__all__ = ["scheduled"]
