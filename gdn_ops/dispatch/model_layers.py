"""The recurrent layers of a model, found by the names of their classes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from gdn_ops.codegen.layer_classes import LAYER_CLASSES, LayerClass
from gdn_ops.codegen.mixer import Mixer
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.ops.checks import IO_NAMES


def mixers_of(model: nn.Module) -> dict[Mixer, tuple[str, ...]]:
    """Find the recurrent layers of a model that gdn_ops has a rule for.

    Args:
        model: any module with layers of gdn_ops, flash-linear-attention or transformers in it, or
            such a layer itself. It is only read.

    Returns:
        The names of the layers within the model, by what their calls have in common.

    Raises:
        InvalidInput: the model has no such layer.
        UnsupportedProblem: the weights of a layer have a dtype in which no plan computes.
    """
    found: dict[Mixer, list[str]] = {}
    for name, layer in model.named_modules():
        kind = _kind(layer)
        if kind is not None and (mixer := _mixer(kind, layer, name)) is not None:
            found.setdefault(mixer, []).append(name or type(layer).__name__)
    if not found:
        raise InvalidInput(
            f"{type(model).__name__} has no layer that gdn_ops knows; give a model with one of "
            f"{', '.join(LAYER_CLASSES)}, or describe a call with gdn_ops.Problem(...)."
        )
    return {mixer: tuple(names) for mixer, names in found.items()}


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer.

    For a model without any, or on the meta device, it is the current GPU, or the CPU if there is
    none.
    """
    found = next((x.device for x in _tensors(model)), None)
    if found is None or found.type == "meta":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return found


def _kind(layer: nn.Module) -> LayerClass | None:
    names = (base.__name__ for base in type(layer).__mro__)
    return next((LAYER_CLASSES[name] for name in names if name in LAYER_CLASSES), None)


def _mixer(kind: LayerClass, layer: nn.Module, name: str) -> Mixer | None:
    """Return the mixer of a layer; None if it only has the name of a known class."""
    sizes = [getattr(layer, attribute, None) for attribute in (*kind.heads, *kind.dims)]
    counts = [size for size in sizes if type(size) is int]
    # The small parameters of a gate may stay in fp32.
    largest = max(layer.parameters(), key=torch.Tensor.numel, default=None)
    if len(counts) < len(sizes) or largest is None:
        return None
    if largest.dtype not in IO_NAMES:
        known = ", ".join(str(x).removeprefix("torch.") for x in IO_NAMES)
        raise UnsupportedProblem(
            f"the weights of {name or type(layer).__name__} are {largest.dtype}; the plans compute "
            f"in {known}. Convert the model, e.g. with .to(torch.bfloat16)."
        )
    H, HV, K, V = counts
    bounded = any(getattr(layer, attribute, None) for attribute in kind.bounds)
    return kind.mixer(H=H, HV=HV, K=K, V=V, dtype=IO_NAMES[largest.dtype], bounded=bounded)


def _tensors(model: nn.Module) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
