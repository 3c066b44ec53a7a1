"""The size of machine code in a binary, and the parameters of its kernels."""

from __future__ import annotations

import struct

import pytest

from gdn_ops.codegen.compiled.elf import (
    EXECUTABLE,
    ElfFunction,
    ElfParameter,
    code_bytes,
    functions,
)
from gdn_ops.codegen.errors import UnreadableCode
from tests.codegen.compiled.elf_file import elf, named_elf


def test_the_sections_of_instructions_are_counted() -> None:
    assert code_bytes(elf((EXECUTABLE | 2, 640), (0, 5000), (EXECUTABLE, 8))) == 648


@pytest.mark.parametrize(
    "binary", [b"", b"anything at all", elf((EXECUTABLE, 16))[:-40], b"x" * 1000, elf()]
)
def test_only_an_elf_file_with_sections_is_read(binary: bytes) -> None:
    with pytest.raises(UnreadableCode, match="not a 64-bit ELF file"):
        code_bytes(binary)


def _parameter(ordinal: int, offset: int, size: int) -> bytes:
    """KPARAM_INFO; the lower bits of its last word say other things."""
    return struct.pack("<BBHIHHI", 4, 0x17, 12, 0, ordinal, offset, size << 18 | 0x1F000)


OTHERS = struct.pack("<BBH", 3, 0x19, 0x50) + struct.pack("<BBHI", 4, 0x0A, 4, 0x500210)
THREADS = struct.pack("<BBH3I", 4, 0x10, 12, 128, 1, 1)
INFO = OTHERS + _parameter(1, 8, 4) + _parameter(0, 0, 8) + THREADS


def test_parameters_and_threads_of_each_kernel_are_read() -> None:
    other = {".text.other": b"", ".nv.info.other": _parameter(0, 0, 8)}
    binary = named_elf({".text.scan": b"code", ".nv.info": b"", ".nv.info.scan": INFO, **other})
    scan = ElfFunction((ElfParameter(0, 0, 8), ElfParameter(1, 8, 4)), (128, 1, 1))
    assert functions(binary) == {"scan": scan, "other": ElfFunction((ElfParameter(0, 0, 8),))}


def test_attributes_without_code_are_no_kernel() -> None:
    assert functions(named_elf({".nv.info.scan": INFO, ".text.scam": b"code"})) == {}


@pytest.mark.parametrize("cut", [1, 3, 5, 14])
def test_attributes_that_end_early_are_refused(cut: int) -> None:
    binary = named_elf({".text.scan": b"", ".nv.info.scan": INFO[:-cut]})
    with pytest.raises(UnreadableCode, match="the attributes of a kernel cannot be read"):
        functions(binary)


def test_sections_without_names_are_refused() -> None:
    with pytest.raises(UnreadableCode, match="have no names"):
        functions(named_elf({".text.scan": b""})[:62] + b"\xff\xff" + bytes(500))
