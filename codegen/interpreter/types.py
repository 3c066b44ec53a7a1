"""Types in Triton's interpreter, made once each: making them takes a third of a kernel's time."""

from __future__ import annotations

from typing import Any


def reuse_types() -> None:
    """Let blocks and tensors of one shape and type share what follows from these.

    Triton 3.6 to 3.9 derive names, sizes and shapes anew for every value that a kernel computes.
    A block type also gets ``sizes``, its shape as a tuple of integers. Further calls in the same
    process change nothing.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    core = tl.core
    if getattr(core.block_type.__init__, "reuses", False):
        return
    core.block_type.__init__ = _block_constructor(core.block_type.__init__)
    core.tensor.__init__ = _tensor_constructor(core.tensor.__init__, core.block_type)
    interpreter._get_np_dtype = _per_scalar(interpreter._get_np_dtype, core)


def _block_constructor(theirs: Any) -> Any:
    """A constructor that runs once per element and shape; other blocks get its attributes."""
    known: dict[Any, dict[str, Any]] = {}

    def init(self: Any, element_ty: Any, shape: Any) -> None:
        sizes = tuple([getattr(size, "value", size) for size in shape])
        # the name of a pointer's type does not say all
        pointer = getattr(element_ty, "address_space", None), getattr(element_ty, "const", None)
        key = (element_ty.name, sizes, pointer)
        found = known.get(key)
        if found is not None:
            self.__dict__.update(found)
            return
        theirs(self, element_ty, list(sizes))
        self.sizes = sizes
        known[key] = dict(self.__dict__)

    init.reuses = True  # type: ignore[attr-defined]
    return init


def _tensor_constructor(theirs: Any, block_type: Any) -> Any:
    """A constructor that runs once per shape; the handle and the types are each tensor's own."""
    known: dict[Any, dict[str, Any]] = {}

    def init(self: Any, handle: Any, kind: Any) -> None:
        sizes = kind.sizes if type(kind) is block_type else None
        if sizes is None and kind.is_block():
            # of Gluon, which is compiled in this process, too
            theirs(self, handle, kind)
            return
        found = known.get(sizes)
        if found is None:
            theirs(self, handle, kind)
            own = ("handle", "type", "dtype")
            known[sizes] = {n: v for n, v in self.__dict__.items() if n not in own}
            return
        self.__dict__.update(found)
        self.handle, self.type, self.dtype = handle, kind, kind.scalar

    return init


def _per_scalar(theirs: Any, core: Any) -> Any:
    """NumPy's type of a Triton type, looked up once per scalar type."""
    known: dict[Any, Any] = {}

    def numpy_type(kind: Any) -> Any:
        scalar = kind.element_ty if isinstance(kind, core.block_type) else kind
        if isinstance(scalar, core.pointer_type):
            return theirs(kind)
        found = known.get(scalar)
        if found is None:
            found = known[scalar] = theirs(scalar)
        return found

    return numpy_type
