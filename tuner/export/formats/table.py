"""Format table: the choices by batch size as JSON, in the shape of vLLM's tables for Mamba.

There is one file per op, heads, head dims, flags, device and dtype. Its keys are sizes, its values
are variants. What vLLM's loader would not read, the proof, is in the manifest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import FLAGS, Problem
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.export.description import Description, ExportedWinner
from gdn_ops.tuner.export.manifest import altered, manifest_name, with_manifest
from gdn_ops.tuner.export.plain import json_file, plain
from gdn_ops.tuner.export.summary import summary as summary  # a part of the format

NAME = "table"
SOUND = "is as it was exported, and so is every file that it lists."
LOOKUP = (
    "Take the file of the call's problem and device, and in it the key with the smallest distance "
    "|key - size|; of two keys, the smaller one. The size is the number of sequences for op decode "
    "and pool, and the number of tokens of the whole call for op forward and backward."
)
SIZED_BY_SEQUENCES = ("decode", "pool")


def exported(descriptions: Sequence[Description]) -> dict[str, bytes]:
    """The tables and their manifest, by file name.

    Raises:
        InvalidInput: two targets have the same device, or a device's name makes no file name.
    """
    found, origins = _sorted(descriptions)
    return with_manifest(
        NAME, tables(descriptions), descriptions, lookup=LOOKUP,
        tables={name: _index(origins[name], sizes) for name, sizes in found.items()},
    )  # fmt: skip


def tables(descriptions: Sequence[Description]) -> dict[str, bytes]:
    """The tables, by file name; it raises what ``exported`` raises."""
    return {name: _table(sizes) for name, sizes in _sorted(descriptions)[0].items()}


def recognizes(path: Path) -> bool:
    return path.name == manifest_name(NAME)


def faults(path: Path) -> list[str]:
    """What is wrong with the tables of a folder, given its manifest."""
    return altered(path, NAME)


def size_of(problem: Problem) -> int:
    """The size by which a table is keyed; see ``LOOKUP``."""
    return problem.sequences if problem.op in SIZED_BY_SEQUENCES else problem.tokens


def file_of(problem: Problem, device: str) -> str:
    """The name of the table that has a problem: all of its facts but the size.

    E.g. ``op=decode,rule=scalar-delta,H=16,HV=32,K=128,V=128,flags=h0-ht,
    device_name=NVIDIA_H200,dtype=bf16.json``.
    """
    parts = {
        "op": problem.op, "rule": problem.rule.name,
        "H": problem.H, "HV": problem.HV, "K": problem.K, "V": problem.V,
    }  # fmt: skip
    if problem.op not in SIZED_BY_SEQUENCES:
        parts["sequences"] = problem.sequences
    elif problem.tokens != problem.sequences:
        parts["tokens_per_sequence"] = problem.tokens // problem.sequences
    flags = [short for flag, short in FLAGS.items() if getattr(problem, flag)]
    if flags:
        parts["flags"] = "-".join(flags)
    parts["device_name"] = plain(device, "device")
    if problem.op == "pool":
        parts["state_dtype"] = problem.state_dtype
    parts["dtype"] = problem.dtype
    return json_file(*(f"{key}={value}" for key, value in parts.items()))


def _sorted(
    descriptions: Sequence[Description],
) -> tuple[dict[str, dict[int, ExportedWinner]], dict[str, tuple[str, str]]]:
    """The winners by table and size, and the target and device of each table."""
    found: dict[str, dict[int, ExportedWinner]] = defaultdict(dict)
    origins: dict[str, tuple[str, str]] = {}
    for description in descriptions:
        for winner in description.winners:
            device = _device(winner, description.target)
            name, size = file_of(winner.problem, device), size_of(winner.problem)
            origin = (description.target.name, device)
            if origins.setdefault(name, origin) != origin:
                raise InvalidInput(
                    f"targets {origins[name][0]!r:.80} and {origin[0]!r:.80} have the same table "
                    f"{name}; export them one by one with --target."
                )
            found[name][size] = winner
    return dict(sorted(found.items())), origins


def _device(winner: ExportedWinner, target: Target) -> str:
    """The name of the device as its driver reports it; of a prediction, as the target has it."""
    return winner.environment.device if winner.environment else target.device or target.name


def _table(sizes: Mapping[int, ExportedWinner]) -> bytes:
    """A table as vLLM reads it: the version of Triton, then the sizes in ascending order."""
    tritons = {w.environment.triton for w in sizes.values() if w.environment is not None} - {None}
    choices = {str(size): sizes[size].variant.to_json() for size in sorted(sizes)}
    table: dict[str, Any] = {"triton_version": ", ".join(sorted(map(str, tritons))) or None}
    return json.dumps({**table, **choices}, indent=1).encode() + b"\n"


def _index(origin: tuple[str, str], sizes: Mapping[int, ExportedWinner]) -> dict[str, Any]:
    """Which winner of the proof each choice is."""
    return {
        "target": origin[0],
        "device": origin[1],
        "choices": {
            str(size): {
                "problem": winner.problem.id(),
                "provenance": winner.winner.provenance,
                "median": winner.winner.median,
            }
            for size, winner in sizes.items()
        },
    }
