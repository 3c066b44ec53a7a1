"""Format hf: a library as a kernel for Hugging Face's ``kernels``, one folder per target.

A folder has ``build/torch-<backend>``, which ``kernels`` loads from the disk or from the Hub, and
what is read by people: the card, the tables of choices, the licence and the bill of materials.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.rule import Rule
from gdn_ops.tuner.export.bare_import import failed_import
from gdn_ops.tuner.export.card import card
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.formats.table import tables
from gdn_ops.tuner.export.hub_metadata import (
    METADATA,
    backend_of,
    identifier,
    metadata,
    module_of,
)
from gdn_ops.tuner.export.library import json_bytes, licence_text, names_of
from gdn_ops.tuner.export.library_files import library_files
from gdn_ops.tuner.export.manifest import altered, manifest_name, with_manifest
from gdn_ops.tuner.export.runtime import relative, renamed, runtime_files
from gdn_ops.tuner.export.sbom import bill_of_materials
from gdn_ops.tuner.export.summary import summary as summary  # a part of the format

NAME = "hf"
SOUND = "is as it was exported, and can be imported without gdn-ops."
OPS = {"forward": "chunk_gated_delta_rule", "decode": "recurrent_gated_delta_rule"}
"""The layer that runs an op."""
CONVOLUTIONS = {"forward": "causal_conv1d_fn", "decode": "causal_conv1d_update"}
"""The layer that convolves what an op is given, on a CPU."""


def exported(descriptions: Sequence[Description]) -> dict[str, bytes]:
    """The files of each target's folder, by path.

    Raises:
        InvalidInput: two targets have the same name as a folder, one has none, or no winner of a
            target is of the rule that transformers' models call.
    """
    found: dict[str, bytes] = {}
    folders: set[str] = set()
    for description in descriptions:
        folder = names_of(description).distribution
        if folder in folders:
            raise InvalidInput(
                f"two targets make the same folder {folder}; export them one by one with --target."
            )
        folders.add(folder)
        found |= {f"{folder}/{name}": data for name, data in _folder(description).items()}
    return found


def recognizes(path: Path) -> bool:
    return path.name == manifest_name(NAME) or (path / manifest_name(NAME)).is_file()


def faults(path: Path) -> list[str]:
    """What is wrong with a kernel's folder, given it or its manifest.

    If every file is as recorded, each module is imported as ``kernels`` does, in a process of its
    own in which gdn-ops cannot be imported.
    """
    manifest = path if path.name == manifest_name(NAME) else path / manifest_name(NAME)
    found = altered(manifest, NAME)
    for variant in sorted(manifest.parent.glob(f"build/*/{METADATA}")):
        if not found:
            found += failed_import(variant.parent, module_of(variant))
    return found


def _folder(description: Description) -> dict[str, bytes]:
    names, backend = names_of(description), backend_of(description.target)
    layers = _layers(description)
    code = _runtime(description, layers)
    package = library_files(description, names, code)
    name = identifier(names, backend, package)
    package |= {path: renamed(data.decode(), name).encode() for path, data in code.items()}
    package[METADATA] = metadata(names, description.target, identifier=name, files=package)
    text = card(description, names, backend=backend, layers=layers)
    files = {
        **{f"build/torch-{backend}/{path}": data for path, data in package.items()},
        **{f"configs/{path}": data for path, data in tables([description]).items()},
        "README.md": text.encode(),
        "sboms/library.cdx.json": json_bytes(bill_of_materials(description, names, package=False)),
    }
    licence = licence_text()
    if licence is not None:
        files["LICENSE"] = licence.encode()
    return with_manifest(NAME, files, [], name=names.distribution, backend=backend)


def _runtime(description: Description, layers: Sequence[str]) -> dict[str, bytes]:
    """The run-time part as a wheel has it, with imports as the Hub wants them, and its layers.

    What ``kernels`` looks for under the name ``layers`` takes the place of the layers with weights.
    """
    found = {
        name: relative(path.read_text(encoding="utf-8"), name).encode()
        for name, path in runtime_files()
        if not name.startswith("layers/")
    }
    lines = [
        '"""The layers that ``kernelize`` puts into models of transformers."""',
        "",
        f"from .integrations.hub_layers import {', '.join(layers)}",
        "",
        f"__all__ = {list(layers)}",
    ]
    if not _serves(description, "backward"):
        lines += ["", "# the library has no kernels for gradients"]
        lines += [f"{layer}.has_backward = False" for layer in layers if layer in OPS.values()]
    found["layers.py"] = "\n".join([*lines, ""]).encode()
    return found


def _layers(description: Description) -> list[str]:
    ops = [op for op in OPS if _serves(description, op)]
    if not ops:
        raise InvalidInput(
            f"no winner for target {description.target.name!r:.80} is a prefill or decode of the "
            "gated delta rule, which is what models of transformers call; run `gdn tune "
            "quickstart` there, or export a wheel."
        )
    layers = [OPS[op] for op in ops]
    if backend_of(description.target) == "cpu":
        layers += [CONVOLUTIONS[op] for op in ops]
    return layers


def _serves(description: Description, op: str) -> bool:
    return any(w.problem.op == op and w.problem.rule == Rule() for w in description.winners)
