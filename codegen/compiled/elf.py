"""The size of a kernel's machine code, read from its ELF file."""

from __future__ import annotations

import struct

from gdn_ops.codegen.errors import UnreadableCode

EXECUTABLE = 0x4
"""The flag of a section that holds instructions (SHF_EXECINSTR)."""


def code_bytes(binary: bytes) -> int:
    """The bytes of machine code in a cubin or an AMD code object.

    The rest of the file is mostly debug information, whose size depends on comments and on the
    path of the rendered file.

    Raises:
        UnreadableCode: the binary is not a 64-bit ELF file.
    """
    try:
        (start,) = struct.unpack_from("<Q", binary, 40)
        size, count = struct.unpack_from("<HH", binary, 58)
        headers = [struct.unpack_from("<IIQQQQ", binary, start + i * size) for i in range(count)]
    except struct.error:
        headers = []
    if not headers or not binary.startswith(b"\x7fELF\x02"):
        raise UnreadableCode("the compiled kernel is not a 64-bit ELF file; update Triton.")
    return sum(length for _, _, flags, _, _, length in headers if flags & EXECUTABLE)
