"""Making tensors on the stand-in GPU, and moving them there and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from tests.stand_in.gpu import GPU
from tests.stand_in.tensor import labelled, plain, poison

MAKERS = (
    "empty", "zeros", "ones", "full", "rand", "randn", "randint", "randperm", "arange", "linspace",
    "eye", "scalar_tensor", "empty_strided", "empty_like", "zeros_like", "ones_like", "full_like",
    "rand_like", "randn_like", "tril_indices", "triu_indices",
)  # fmt: skip
COPIERS = ("tensor", "as_tensor", "asarray")
"""What sends numbers of the host over."""
METHODS = ("new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "new_tensor")

_to = torch.Tensor.to


class Generator(torch.Generator):
    """A generator of the CPU that says of which device it is."""

    place: torch.device

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, device="cpu")  # type: ignore[call-arg]
        made.place = _indexed(torch.device(device))
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place


class Move(torch.autograd.Function):
    """A copy on another device."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, where: torch.device) -> torch.Tensor:
        ctx.origin = x.device
        return moved(x, where)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return moved(grad, ctx.origin), None


def moved(x: torch.Tensor, where: torch.device) -> torch.Tensor:
    GPU.wait(f"copying from {x.device} to {where}")
    copied: torch.Tensor = labelled(plain(x).detach().clone(), where)
    return copied


def to(x: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
    """``Tensor.to``, also to and from the GPU."""
    if args and isinstance(args[0], torch.Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    copy = options.pop("copy", False)
    device, dtype, _, layout = torch._C._nn._parse_to(*args, **options)
    if device is not None and _indexed(device) != x.device:
        x, copy = Move.apply(x, _indexed(device)), False  # type: ignore[no-untyped-call]
    more = {"memory_format": layout} if layout is not None else {}
    return _to(x, dtype=x.dtype if dtype is None else dtype, copy=copy, **more)  # type: ignore[call-overload, no-any-return]


def install() -> None:
    for name in MAKERS:
        setattr(torch, name, _placed(getattr(torch, name), sends=False))
    for name in COPIERS:
        setattr(torch, name, _placed(getattr(torch, name), sends=True))
    for name in METHODS:
        setattr(torch.Tensor, name, _placed(getattr(torch.Tensor, name), sends="tensor" in name))
    torch.Tensor.to = to  # type: ignore[method-assign, assignment]
    torch.Tensor.cpu = lambda x, **_: to(x, "cpu")  # type: ignore[method-assign]
    torch.Tensor.cuda = lambda x, device=None, *_, **__: to(  # type: ignore[method-assign]
        x, torch.device("cuda", GPU.current) if device is None else torch.device("cuda", device)
    )
    torch.Generator = Generator  # type: ignore[misc]
    # a module's parameters become new ones: what it says of a device is no part of a tensor's data
    torch.__future__.set_overwrite_module_params_on_conversion(True)


def _placed(make: Callable[..., torch.Tensor], *, sends: bool) -> Callable[..., torch.Tensor]:
    """A factory that knows the GPU.

    Args:
        sends: it copies from the host.
    """

    @wraps(make)
    def factory(*args: Any, **options: Any) -> torch.Tensor:
        device = options.get("device")
        where = None if device is None else _indexed(torch.device(device))
        generator = options.get("generator")
        if isinstance(generator, Generator) and generator.place != (where or generator.place):
            raise RuntimeError(
                f"Expected a generator of {where} but found one of {generator.place}"
            )
        if where is None:
            return make(*args, **options)
        args, options = tuple(map(plain, args)), {**options, "device": "cpu"}
        if where.type != "cuda":
            return make(*args, **{**options, "device": where})
        if sends:
            GPU.wait(f"{make.__name__} of numbers of the host")
        made = make(*args, **options)
        if GPU.capturing:
            poison(made)
            if "empty" not in make.__name__:
                GPU.do(lambda: made.copy_(make(*args, **options)))
        tensor: torch.Tensor = labelled(made.detach(), where)
        return tensor.requires_grad_(made.requires_grad)

    return factory


def _indexed(device: torch.device | str | int) -> torch.device:
    where = torch.device(device)
    if where.type == "cuda" and where.index is None:
        return torch.device("cuda", GPU.current)
    return where
