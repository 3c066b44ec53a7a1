"""ELF files: of sections without content, and of named sections."""

from __future__ import annotations

import struct
from collections.abc import Mapping


def elf(*sections: tuple[int, int]) -> bytes:
    """An ELF file whose sections have these flags and sizes."""
    header = struct.pack("<4sB35xQ10xHH2x", b"\x7fELF", 2, 64, 64, len(sections))
    headers = [struct.pack("<IIQQQQ24x", 0, 1, flags, 0, 0, size) for flags, size in sections]
    return header.ljust(64, b"\0") + b"".join(headers)


def named_elf(sections: Mapping[str, bytes]) -> bytes:
    """An ELF file with these sections, and one more with their names."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name in sections)
    content = {**sections, "": names}
    count, body = len(content), b""
    headers = b""
    for name, data in content.items():
        at = names.index(name.encode() + b"\0") if name else 0
        headers += struct.pack("<IIQQQQ24x", at, 1, 0, 0, 64 + 64 * count + len(body), len(data))
        body += data
    header = struct.pack("<4sB35xQ10xHHH", b"\x7fELF", 2, 64, 64, count, count - 1)
    return header.ljust(64, b"\0") + headers + body
