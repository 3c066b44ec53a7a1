"""Figures of one compiled kernel, read once per binary and kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from gdn_ops.codegen.compiled.compile import Compiled
from gdn_ops.codegen.compiled.elf import code_bytes
from gdn_ops.codegen.compiled.races import races
from gdn_ops.codegen.compiled.resources import resources_of
from gdn_ops.codegen.errors import LaunchError
from gdn_ops.codegen.private_folder import ensure_folder
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.check.static.rules import KIND, rule_of
from gdn_ops.tuner.whole_file import write_whole

NO_READERS = ("loops.py", "trips.py")
"""Modules of ``codegen/compiled`` that have no part in the figures."""
LIMITS = (
    "arch", "warp", "shared_block", "shared_sm", "registers_sm", "warps_sm", "blocks_sm",
    "reserved_block",
)  # fmt: skip
"""What the figures take from the target."""

Read = dict[str, Any]
"""``figures``: the figures that are not 0, by name; ``reasons``: races and why the kernel cannot
be launched, a sentence each."""


def read_figures(compiled: Compiled, folder: Path) -> Read:
    """The figures of a compiled kernel.

    Args:
        folder: where they are kept, because a disassembler takes longer than everything else.

    Raises:
        UnreadableCode: the binary or the compiled program cannot be read.
    """
    path = folder / f"{_key(compiled)}.json"
    kept = _kept(path)
    if kept is not None:
        return kept
    found = _read(compiled)
    _keep(path, found)
    return found


@cache
def reader_hash(target: Target) -> str:
    """The hash of what decides the figures of a binary besides itself.

    It is of the code that reads the binary, and of the limits of the target.
    """
    folder = files("gdn_ops.codegen") / "compiled"
    names = sorted(f.name for f in folder.iterdir() if f.name.endswith(".py"))
    readers = [folder / name for name in names if name not in NO_READERS]
    texts = [_code(file.read_text(encoding="utf-8")) for file in (*readers, Path(__file__))]
    facts = json.dumps([*texts, [getattr(target, name) for name in LIMITS]])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _code(text: str) -> str:
    """A module without docstrings and comment lines.

    Not its tokens: Python 3.12 and newer split f-strings into several.
    """
    text = re.sub(r'^ *""".*?"""\n', "", text, flags=re.DOTALL | re.MULTILINE)
    lines = (line.rstrip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def _read(compiled: Compiled) -> Read:
    needs = resources_of(compiled)
    racing = [str(race) for race in races(compiled.asm["ttgir"])]
    refusals = needs.reasons(compiled.target)
    figures = {
        "races": len(racing),
        "unlaunchable": len(refusals),
        "stack": needs.stack,
        "local accesses": needs.local,
        "resident warps": needs.occupancy.warps,
        "instructions": needs.instructions,
        "code": code_bytes(compiled.binary),
        "registers": needs.registers,
        "shared": needs.shared,
        "tensor memory": needs.tensor_memory,
        "warps": needs.warps,
        **{KIND + kind: count for kind, count in {**needs.matrix, **needs.copies}.items()},
    }
    known = {name: value for name, value in figures.items() if value}
    return {"figures": known, "reasons": [*racing, *refusals]}


def _key(compiled: Compiled) -> str:
    texts = [compiled.asm.get(name, "") for name in ("ttgir", "amdgcn")]
    numbers = [compiled.warps, compiled.shared, compiled.tensor_memory]
    facts = json.dumps([reader_hash(compiled.target), numbers, texts]).encode()
    return hashlib.sha256(compiled.binary + facts).hexdigest()


def _kept(path: Path) -> Read | None:
    """What ``_keep`` wrote; None if there is none, or if it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        figures, reasons = found["figures"], found["reasons"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    numbers = isinstance(figures, Mapping) and all(
        rule_of(name) is not None and type(value) is int for name, value in figures.items()
    )
    words = isinstance(reasons, list) and all(isinstance(reason, str) for reason in reasons)
    return {"figures": figures, "reasons": reasons} if numbers and words else None


def _keep(path: Path, found: Read) -> None:
    """Write a file completely or not at all. Where none can be written, all is read again later."""
    with suppress(OSError, LaunchError):
        ensure_folder(path.parent)
        write_whole(path, json.dumps(found))
