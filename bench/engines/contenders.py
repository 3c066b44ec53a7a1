"""The implementations of the rule, and how each is put into a model of transformers."""

from __future__ import annotations

import importlib
import logging
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers.utils import is_kernels_available

from gdn_ops.dispatch.device import target_of
from gdn_ops.integrations.transformers import use_gdn_ops
from gdn_ops.tuner.export.folder import write_all
from gdn_ops.tuner.export.formats import hf, wheel
from gdn_ops.tuner.export.selection import described

STOCK = "stock"
RULES = {
    "torch_chunk_gated_delta_rule": "chunk_gated_delta_rule",
    "torch_recurrent_gated_delta_rule": "recurrent_gated_delta_rule",
    "causal_conv1d_fn": "causal_conv1d_fn",
    "causal_conv1d_update": "causal_conv1d_update",
}
"""The functions of a modelling module, and the layers of a kernel that replace them."""
Installed = Callable[[Any], AbstractContextManager[object]]
"""Puts an implementation into a model as long as the context is open."""


def export(folder: Path) -> None:
    """Export the winners for this CPU as a wheel, which is unpacked, and as a kernel."""
    descriptions = described(targets=[target_of(torch.device("cpu")).name])
    (name,) = write_all(folder / "dist", wheel.exported(descriptions))
    with zipfile.ZipFile(name) as members:
        members.extractall(folder / "site")
    write_all(folder / "hf", hf.exported(descriptions))


def contenders(folder: Path) -> dict[str, Installed]:
    """How each implementation is put into a model, by name."""
    sys.path.insert(0, str(folder / "site"))
    (package,) = (path.parent.name for path in (folder / "site").glob("*/library.json"))
    of_wheel = importlib.import_module(f"{package}.integrations.transformers")
    found: dict[str, Installed] = {
        STOCK: lambda model: nullcontext(),
        "plug-in": use_gdn_ops,
        "wheel": of_wheel.use_gdn_ops,
    }
    if is_kernels_available():
        (kernel,) = (folder / "hf").iterdir()
        found["kernel"] = partial(kernelized, kernel)
    return found


@contextmanager
def kernelized(folder: Path, model: Any) -> Iterator[None]:
    """Put an exported kernel into a model, as its user does, and take it out again."""
    from kernels import LocalLayerRepository, Mode, kernelize, use_kernel_mapping

    modeling = importlib.import_module(type(model).__module__)
    functions = {getattr(modeling, rule): layer for rule, layer in RULES.items()}
    mapping = {
        type(function).kernel_layer_name: {"cpu": LocalLayerRepository(folder, layer_name=layer)}
        for function, layer in functions.items()
    }
    logging.getLogger("kernels").setLevel(logging.ERROR)  # it names every layer without a mapping
    with use_kernel_mapping(mapping, inherit_mapping=False):
        kernelize(model, mode=Mode.INFERENCE, device="cpu")
    try:
        yield
    finally:
        for function in functions:
            del function.forward
