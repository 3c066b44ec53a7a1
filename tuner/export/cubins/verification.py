"""Checking cubins against their manifest: functions, parameters and threads, as their ELF has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gdn_ops.codegen.compiled.elf import ElfFunction, ElfParameter, functions
from gdn_ops.codegen.errors import UnreadableCode


def disagreements(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """How the cubins in a folder differ from what a manifest says of them, one sentence each."""
    found = []
    for kernel in manifest["kernels"].values():
        name = str(kernel["file"])
        if name not in manifest["files"]:
            found.append(f"{name}, the file of a kernel, has no digest; export it again.")
            continue
        try:
            data = (folder / name).read_bytes()
        except OSError:
            continue  # the digests have said so
        found += [f"{name}: {sentence}" for sentence in differences(data, kernel)]
    return found


def differences(cubin: bytes, kernel: Mapping[str, Any]) -> list[str]:
    """How a cubin differs from what a manifest says of its kernel."""
    symbol = str(kernel["symbol"])
    try:
        found = functions(cubin)
    except UnreadableCode as error:
        return [str(error)]
    if symbol not in found:
        has = ", ".join(sorted(found)) or "no function"
        return [f"it has no function {symbol} but {has}; export it again."]
    return _threads(symbol, found[symbol], kernel) + _parameters(
        symbol, found[symbol].parameters, kernel["parameters"]
    )


def _threads(symbol: str, own: ElfFunction, kernel: Mapping[str, Any]) -> list[str]:
    block = tuple(kernel["block"])
    if not own.threads or own.threads == block:
        return []
    return [
        f"{symbol} needs blocks of {own.threads[0]} threads, and the manifest says {block[0]}; "
        "export it again."
    ]


def _parameters(
    symbol: str, own: Sequence[ElfParameter], said: Sequence[Mapping[str, Any]]
) -> list[str]:
    if len(own) != len(said):
        return [
            f"{symbol} has {len(own)} parameters, and the manifest says {len(said)}; export it "
            "again."
        ]
    return [
        f"parameter {found.ordinal} ({expected['name']}) of {symbol} has {found.size} bytes at "
        f"offset {found.offset}, and the manifest says {expected['size']} at "
        f"{expected['offset']}; export it again."
        for number, (found, expected) in enumerate(zip(own, said, strict=True))
        if found != ElfParameter(number, expected["offset"], expected["size"])
    ]
