"""Recorder: recording the launches of code, with their arguments, without a GPU."""

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
"""Operations whose names start like this launch nothing; nor do views."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One recorded launch.

    Args:
        kernel: the kernel's name.
        bytes: the bytes of its tensors, each counted once.
        compiles: functions that compile the kernel for these arguments, by config; empty for
            PyTorch's operations.
    """

    kernel: str
    bytes: int
    compiles: Mapping[str, Callable[[], Any]]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While active, records PyTorch's operations in ``calls``; they run as usual.

    Each operation that is neither a view nor an allocation counts as one launch. Use tensors
    without data (``meta`` or fake tensors).
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
            # new_zeros and zeros_like do not read the data of their argument.
            only_result = name.startswith("new_") or name.endswith("_like")
            tensors = tree_leaves(result if only_result else (args, kwargs, result))
            self.calls.append(Call(kernel=f"aten.{name}", bytes=bytes_of(tensors), compiles={}))
        return result


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record launches of Triton and PyTorch in order, without launching Triton's kernels.

    For an autotuned kernel all configs are recorded that remain after pruning.
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
    """Return the bytes of the tensors among some values, each counted once."""
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
    """Return a tensor without data for Triton's compiler, which assumes 16-byte alignment."""
    return MockTensor(value.dtype, value.shape) if isinstance(value, torch.Tensor) else value
