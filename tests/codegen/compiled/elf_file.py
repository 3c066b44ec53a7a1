"""An ELF file of sections without content."""

from __future__ import annotations

import struct


def elf(*sections: tuple[int, int]) -> bytes:
    """An ELF file whose sections have these flags and sizes."""
    header = struct.pack("<4sB35xQ10xHH2x", b"\x7fELF", 2, 64, 64, len(sections))
    headers = [struct.pack("<IIQQQQ24x", 0, 1, flags, 0, 0, size) for flags, size in sections]
    return header.ljust(64, b"\0") + b"".join(headers)
