"""Recorder: what code launches, taken down from the arguments instead of launched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction, MockTensor

FREE = ("empty", "detach", "alias", "_unsafe_view", "lift_fresh")
"""Beginnings of the operations' names that launch nothing, views apart."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One launch as it was asked for.

    Args:
        kernel: the kernel's name.
        bytes: of its tensors, each once.
        compiles: by config what compiles the kernel for these arguments; empty for PyTorch's own.
    """

    kernel: str
    bytes: int
    compiles: Mapping[str, Callable[[], Any]]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, PyTorch's operations are noted in ``calls`` and carried out as ever.

    One that is neither a view nor an allocation counts as one launch. Give it tensors that hold no
    data (``meta`` or fake ones).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        free = (
            func.is_view or func.namespace != "aten" or name.removeprefix("new_").startswith(FREE)
        )
        if not free:
            # new_zeros, zeros_like: the tensor they are asked of gives its dtype and no data
            asked = name.startswith("new_") or name.endswith("_like")
            tensors = tree_leaves(result if asked else (args, kwargs, result))
            self.calls.append(Call(kernel=f"aten.{name}", bytes=bytes_of(tensors), compiles={}))
        return result


@contextmanager
def recording() -> Iterator[Recorder]:
    """Take down Triton's launches and PyTorch's, in their order; Triton's are left out.

    Of an autotuned kernel every config that its list has left for these arguments is kept.
    """
    recorder = Recorder()
    tuned, plain = Autotuner.run, JITFunction.run

    def of_tuner(self: Any, *args: Any, **kwargs: Any) -> None:
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        options = [config.all_kwargs() for config in self.prune_configs(kwargs)]
        configs = {_text(given): given for given in options}
        recorder.calls.append(_call(self.base_fn.__name__, self.fn, args, kwargs, configs))

    def of_function(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs["warmup"]:
            return plain(self, *args, **kwargs)
        recorder.calls.append(_call(self.fn.__name__, self, args, kwargs, {"": {}}))
        return None

    Autotuner.run, JITFunction.run = of_tuner, of_function
    try:
        with recorder:
            yield recorder
    finally:
        Autotuner.run, JITFunction.run = tuned, plain


def bytes_of(values: Iterable[Any]) -> int:
    """Bytes of the tensors among values, each once."""
    tensors = {id(x): x for x in values if isinstance(x, torch.Tensor)}
    return sum(x.numel() * x.element_size() for x in tensors.values())


def _call(
    kernel: str, function: Any, args: Any, kwargs: Mapping[str, Any], configs: Mapping[str, Any]
) -> Call:
    given = {name: value for name, value in kwargs.items() if name not in ("grid", "warmup")}
    shapes = [_described(x) for x in args], {name: _described(x) for name, x in given.items()}

    def compile_with(options: Mapping[str, Any]) -> Callable[[], Any]:
        return lambda: function.warmup(*shapes[0], grid=(1,), **shapes[1], **options)

    return Call(
        kernel=kernel,
        bytes=bytes_of([*args, *given.values()]),
        compiles={name: compile_with(options) for name, options in configs.items()},
    )


def _text(options: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items() if name != "num_ctas")


def _described(value: Any) -> Any:
    """A tensor without its data, as Triton's compiler takes it: aligned to 16 bytes."""
    return MockTensor(value.dtype, value.shape) if isinstance(value, torch.Tensor) else value
