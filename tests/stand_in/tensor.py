"""Tensors of the stand-in GPU: memory of the CPU that only the GPU's own operations may touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._pytree import tree_flatten, tree_map

from tests.stand_in.gpu import GPU

MIXED = {"aten::copy_", "aten::set_"}
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""Operations that take indices of the CPU, and send them over."""
WAITING = {
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::bincount",
    "aten::repeat_interleave", "aten::_linalg_check_errors", "aten::linalg_inv",
}  # fmt: skip


class GpuTensor(torch.Tensor):
    """A tensor that says it is on ``place`` and keeps off the CPU's."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    place: torch.device

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def get_device(self) -> int:
        return self.place.index

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {self.place} device type tensor to numpy.")

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def new_tensor(self, data: Any, **options: Any) -> torch.Tensor:  # type: ignore[override]
        return torch.tensor(data, **{"dtype": self.dtype, "device": self.place, **options})

    def pin_memory(self, device: Any = None) -> torch.Tensor:
        raise RuntimeError("cannot pin memory of a GPU; only dense CPU tensors can be pinned")

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{plain(self)!r} on {self.place}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func.namespace not in ("aten", "prims", "prim"):  # an operator written on top of them
            return func.redispatch(
                torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args, **kwargs
            )
        given = tensors(args, kwargs)
        home = next(x.place for x in given if isinstance(x, GpuTensor))
        _check_devices(func, given, args)
        _check_waits(func, given, args)
        # whoever asks for another device does so in Python, see ``factories``
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        out = _record(func, args, kwargs) if GPU.capturing else run(func, args, kwargs)
        return tree_map(lambda x: labelled(x, home), out)


def labelled(x: Any, place: torch.device) -> Any:
    """A tensor of this process under the name of a device; anything else as it is."""
    if type(x) is not torch.Tensor or place.type != "cuda":
        return x
    tensor = torch.Tensor._make_subclass(GpuTensor, x)
    tensor.place = place
    if GPU.capturing:
        GPU.kept.append(tensor.untyped_storage())
    return tensor


def plain(x: Any) -> Any:
    """A GPU tensor's memory as a tensor of the CPU; anything else as it is."""
    if not isinstance(x, GpuTensor):
        return x
    with torch._C._DisableTorchDispatch():
        return torch.Tensor._make_subclass(torch.Tensor, x)


def tensors(*trees: Any) -> list[torch.Tensor]:
    return [x for x in tree_flatten(trees)[0] if isinstance(x, torch.Tensor)]


def run(func: Any, args: Any, kwargs: Any) -> Any:
    """The operation on the memory of its arguments, whosever it is."""
    with torch._C._DisableTorchDispatch(), torch._C._AutoDispatchBelowAutograd():
        return func(*args, **kwargs)


def poison(x: torch.Tensor) -> None:
    """What memory holds that nothing was computed into yet."""
    x.fill_(float("nan") if x.is_floating_point() else 0)


def _check_devices(func: Any, given: list[torch.Tensor], args: tuple[Any, ...]) -> None:
    name = func._schema.name
    if name in MIXED:
        return
    if name in INDEXED and isinstance(args[0], GpuTensor):
        given = [x for x in given if isinstance(x, GpuTensor)]
    places = {x.device for x in given if isinstance(x, GpuTensor) or x.dim()}
    written = func._schema.is_mutable and given and not isinstance(given[0], GpuTensor)
    if len(places) > 1 or (written and args and given[0] is args[0]):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {name} found at least two "
            f"devices, {' and '.join(sorted(str(x.device) for x in given))}!"
        )


def _check_waits(func: Any, given: list[torch.Tensor], args: tuple[Any, ...]) -> None:
    name = func._schema.name
    crossing = name in MIXED and len({x.device for x in given}) > 1
    masked = False
    if name in INDEXED:
        indices = [x for x in args[1] if x is not None]
        crossing = any(not isinstance(x, GpuTensor) for x in indices)
        filled = len(args) > 2 and not isinstance(args[2], GpuTensor) and args[2].numel() == 1
        masked = any(x.dtype in (torch.bool, torch.uint8) for x in indices) and not filled
    if name in WAITING or crossing or masked:
        GPU.wait(name)


def _record(func: Any, args: Any, kwargs: Any) -> Any:
    """Note an operation; its results are there already, and hold nothing yet."""
    name, schema = func._schema.name, func._schema
    if any(r.alias_info and not r.alias_info.is_write for r in schema.returns):
        return run(func, args, kwargs)  # a view, which is no work
    if schema.is_mutable:
        GPU.do(lambda: run(func, args, kwargs))
        written = list(_written(schema, args, kwargs))
        return written[0] if len(written) == 1 else tuple(written)
    out = run(func, args, kwargs)
    made = tensors(out)
    for x in made:
        poison(x)
    if "empty" not in name:

        def step() -> None:
            for x, new in zip(made, tensors(run(func, args, kwargs)), strict=True):
                x.copy_(new)

        GPU.do(step)
    return out


def _written(schema: Any, args: tuple[Any, ...], kwargs: Any) -> Iterator[Any]:
    """The arguments that an operation writes to and returns."""
    for i, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield args[i] if i < len(args) else kwargs[argument.name]
