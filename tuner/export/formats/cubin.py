"""Format cubin: compiled kernels for one GPU of NVIDIA, and a loader in C for engines.

A folder has the cubins, the loader's two files, and the manifest, from which everything that the
loader knows is made.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.export.cubins.c_source import c_files
from gdn_ops.tuner.export.cubins.manifest_facts import exportable
from gdn_ops.tuner.export.cubins.verification import disagreements
from gdn_ops.tuner.export.description import Description, LeftOut
from gdn_ops.tuner.export.manifest import altered, manifest_name, with_manifest
from gdn_ops.tuner.export.summary import winner_line

NAME = "cubin"
SOUND = "is as it was exported, and so is every file that it lists; each cubin has its parameters."


def exported(descriptions: Sequence[Description]) -> dict[str, bytes]:
    """The cubins, the loader and the manifest, by file name.

    Raises:
        InvalidInput: there is not one GPU of NVIDIA, or none of its winners can be exported.
        CompileError: the machine failed to compile.
    """
    description = _one(descriptions)
    found = exportable(description)
    files = {**found.cubins, **c_files(found.facts)}
    ordered = {name: files[name] for name in sorted(files)}
    return with_manifest(NAME, ordered, [found.description], **found.facts)


def summary(descriptions: Sequence[Description], files: Mapping[str, bytes]) -> list[str]:
    """The winners that have a set, of the one target; see ``Format``."""
    sets = json.loads(files[manifest_name(NAME)])["sets"]
    exported = {each["problem"] for each in sets}
    description = next(d for d in descriptions if d.target.vendor == "nvidia")
    winners = [w for w in description.winners if w.problem.id() in exported]
    return [winner_line(replace(description, winners=tuple(winners)))]


def recognizes(path: Path) -> bool:
    return path.name == manifest_name(NAME)


def faults(path: Path) -> list[str]:
    """What is wrong with a folder, given its manifest: digests first, then what the cubins say."""
    found = altered(path, NAME)
    try:
        return found + disagreements(path.parent, json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return found or [f"{path.name} does not describe its kernels; export it again."]


def _one(descriptions: Sequence[Description]) -> Description:
    """The description of the GPU of NVIDIA; other targets are left out."""
    found = [d for d in descriptions if d.target.vendor == "nvidia"]
    names = ", ".join(d.target.name for d in descriptions)
    if not found:
        raise InvalidInput(
            f"cubins are for GPUs of NVIDIA, and the winners are for {names}; export another "
            "format, or run `gdn predict --target h200 --store` for such a GPU."
        )
    if len(found) > 1:
        names = ", ".join(d.target.name for d in found)
        raise InvalidInput(f"cubins are for one GPU, not for {names}; choose one with --target.")
    for other in descriptions:
        if other.target.vendor != "nvidia":
            sentence = f"target {other.target.name} is left out: cubins are for GPUs of NVIDIA."
            warnings.warn(sentence, LeftOut, stacklevel=2)
    return found[0]
