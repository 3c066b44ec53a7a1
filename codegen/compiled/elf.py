"""What a kernel's ELF file says: its machine code, functions and their parameters."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from gdn_ops.codegen.errors import UnreadableCode

EXECUTABLE = 0x4
"""The flag of a section that holds instructions (SHF_EXECINSTR)."""
HEADER = struct.Struct("<IIQQQQ24x")
"""A section's header: name, type, flags, address, offset, size."""
INFO = ".nv.info."
"""The name of the section with the attributes of a function, before the function's name."""
SIZED = 4
"""The format of an attribute whose value has its length in front (EIFMT_SVAL)."""
REQUIRED_THREADS, PARAMETER = 0x10, 0x17
"""The attributes EIATTR_REQNTID and EIATTR_KPARAM_INFO."""


@dataclass(frozen=True, order=True)
class ElfParameter:
    """A parameter of a function: its number, and its offset and size in bytes."""

    ordinal: int
    offset: int
    size: int


@dataclass(frozen=True)
class ElfFunction:
    """A kernel in a cubin.

    Args:
        parameters: in order.
        threads: threads per block in each dimension that a launch must have; empty if any will do.
    """

    parameters: tuple[ElfParameter, ...]
    threads: tuple[int, ...] = ()


def code_bytes(binary: bytes) -> int:
    """The bytes of machine code in a cubin or an AMD code object.

    The rest of the file is mostly debug information, whose size depends on comments and on the
    path of the rendered file.

    Raises:
        UnreadableCode: the binary is not a 64-bit ELF file.
    """
    return sum(length for _, _, flags, _, _, length in _headers(binary) if flags & EXECUTABLE)


def functions(binary: bytes) -> dict[str, ElfFunction]:
    """The kernels in a cubin by name: those with both machine code and attributes.

    Raises:
        UnreadableCode: the binary is not a 64-bit ELF file, or its attributes cannot be read.
    """
    sections = _sections(binary)
    try:
        return {
            name.removeprefix(INFO): _function(content)
            for name, content in sections.items()
            if name.startswith(INFO) and f".text.{name.removeprefix(INFO)}" in sections
        }
    except struct.error as error:
        raise UnreadableCode(f"the attributes of a kernel cannot be read: {error}.") from error


def _headers(binary: bytes) -> list[tuple[int, ...]]:
    try:
        (start,) = struct.unpack_from("<Q", binary, 40)
        size, count = struct.unpack_from("<HH", binary, 58)
        headers = [HEADER.unpack_from(binary, start + i * size) for i in range(count)]
    except struct.error:
        headers = []
    if not headers or not binary.startswith(b"\x7fELF\x02"):
        raise UnreadableCode("the compiled kernel is not a 64-bit ELF file; update Triton.")
    return headers


def _sections(binary: bytes) -> dict[str, bytes]:
    """The content of each section by its name."""
    headers = _headers(binary)
    (names_at,) = struct.unpack_from("<H", binary, 62)
    if names_at >= len(headers):
        raise UnreadableCode("the sections of the compiled kernel have no names; update Triton.")
    _, _, _, _, offset, size = headers[names_at]
    names = binary[offset : offset + size]
    found = {}
    for name, _, _, _, offset, size in headers:
        text = names[name:].split(b"\0", 1)[0].decode("utf-8", "replace")
        found[text] = binary[offset : offset + size]
    return found


def _function(attributes: bytes) -> ElfFunction:
    parameters, threads = [], ()
    for code, value in _attributes(attributes):
        if code == PARAMETER:
            _, ordinal, offset, flags = struct.unpack("<IHHI", value)
            parameters.append(ElfParameter(ordinal, offset, flags >> 18))
        elif code == REQUIRED_THREADS:
            threads = struct.unpack("<3I", value)
    return ElfFunction(tuple(sorted(parameters)), threads)


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the code and the value of each attribute of a function."""
    at = 0
    while at < len(content):
        form, code, length = struct.unpack_from("<BBH", content, at)
        at += 4
        if form == SIZED:
            yield code, content[at : at + length]
            at += length
