"""Matrix products into tensor memory (tcgen05, sm_100): their shapes, cycles and barriers.

Such an instruction does not name its shape. It reads an instruction descriptor from a uniform
register, into which the code moves a constant before. So a listing is followed line by line.
"""

from __future__ import annotations

import re

PRODUCT = "UTCHMMA"
"""Starts a product of 16-bit or tf32 operands."""
SIGNAL = "UTCBAR"
"""Makes the products before it arrive at a barrier in shared memory when they are over."""
ALLOCATION = "UTCATOMSWS.FIND_AND_SET"
"""Asks for columns of tensor memory."""
LANES = 128
"""Rows of a product at the full rate; one of 64 takes as long as one of 128."""
RATE_16, RATE_TF32 = 8192, 4096
"""FLOPs per cycle of an SM's matrix units."""
DEPTH_BYTES = 32
"""Bytes of a row of the left operand that one instruction multiplies."""
SHARED_BYTES = 128
"""Bytes of shared memory that the matrix units read per cycle."""
TF32 = 2
"""The format of operands in a descriptor; 0 and 1 are fp16 and bf16."""

_NUMBER = r"(-?0x[0-9a-f]+)"
_MOVED = re.compile(rf" *(UR\d+), (?:{_NUMBER}|(UR\d+)|URZ) ?;")
_SUM = re.compile(rf" *(UR\d+), UPT, UPT, UR\d+, {_NUMBER}, URZ ?;")
_FIRST = re.compile(r" *(?:U?P\w+, )*(UR\d+)\b")
_DESCRIPTOR = re.compile(r"idesc\[(UR\d+)\]")
_ADDRESS = re.compile(r"\[([^\]]*)\]")
_PART = re.compile(rf"{_NUMBER}|(UR\d+)")


def product_cycles(descriptor: int, *, left: bool) -> float:
    """The cycles of one instruction, from its descriptor.

    Operands in shared memory have to be read in that time, which a narrow product is bound by.

    Args:
        left: whether the left operand is in shared memory, not in tensor memory.
    """
    rows, columns = (descriptor >> 24 & 31) << 4, (descriptor >> 17 & 63) << 3
    tf32 = (descriptor >> 7 & 7) == TF32
    rate, depth = (RATE_TF32, DEPTH_BYTES // 4) if tf32 else (RATE_16, DEPTH_BYTES // 2)
    read = DEPTH_BYTES * (columns + (rows if left else 0))
    return max(2 * max(rows, LANES) * columns * depth / rate, read / SHARED_BYTES)


class UniformRegisters:
    """What is known of uniform registers, along the lines of a listing.

    Branches are not followed: the compiler sets a descriptor shortly before it is read.
    """

    def __init__(self) -> None:
        self._constants: dict[str, int] = {}
        self._offsets: dict[str, int] = {}

    def follow(self, opcode: str, operands: str) -> None:
        """Note what an instruction writes."""
        found = _FIRST.match(operands)
        if found is None or not opcode.startswith(("U", "R2UR", "S2UR", "LDCU")):
            return
        name = found[1]
        constant, offset = None, None
        if opcode == "UMOV" and (moved := _MOVED.match(operands)):
            constant = int(moved[2], 16) if moved[2] else self._constants.get(moved[3] or "", None)
            offset = self._offsets.get(moved[3] or "")
        elif opcode == "UIADD3" and (summed := _SUM.match(operands)):
            offset = int(summed[2], 16)
        for known, value in ((self._constants, constant), (self._offsets, offset)):
            known.pop(name, None)
            if value is not None:
                known[name] = value

    def descriptor(self, operands: str) -> int | None:
        """The descriptor of a product; None if it is not known."""
        found = _DESCRIPTOR.search(operands)
        return self._constants.get(found[1]) if found else None

    def barrier(self, operands: str) -> int:
        """The place of a barrier in shared memory, in bytes from a common start; 0 if unknown."""
        found = _ADDRESS.search(operands)
        parts = _PART.findall(found[1]) if found else []
        return sum(int(n, 16) if n else self._offsets.get(name, 0) for n, name in parts)
