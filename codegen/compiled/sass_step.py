"""How an instruction of NVIDIA machine code delays the ones after it."""

from __future__ import annotations

import re
from math import inf

from gdn_ops.codegen.compiled import tensor_products
from gdn_ops.codegen.compiled.tensor_products import UniformRegisters
from gdn_ops.codegen.compiled.warp_cycles import Step

GROUP = re.compile(r"HGMMA\.(\d+)x(\d+)x(\d+)\.")
"""A matrix product of a warp group, and its shape."""
_NUMBER = re.compile(r"(?:SB0|gsb0), 0x([0-9a-f]+)")
_LANES = 32
_BYTES = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}
"""Bytes per lane of the loads and stores that do not move 4."""
_COLUMNS = re.compile(r"(?:dp(\d+)bit)?\.x(\d+)")
_COLUMN_BITS = 32
_MATRICES = 512
"""Bytes of four 8 x 8 matrices of 16-bit numbers, which LDSM and STSM move at a time."""
_KINDS = {
    "LDG": "load", "LD": "load", "ATOMG": "load", "STG": "store", "RED": "store", "ST": "store",
    "LDS": "shared", "STS": "shared", "LDL": "shared", "STL": "shared", "LDSM": "shared",
    "STSM": "shared", "LDGSTS": "copy", "LDGDEPBAR": "commit",
}  # fmt: skip
MOVES = ("load", "store", "copy", "shared")
FAR = ("load", "store", "copy")
NOBODYS = -1
"""The place of a barrier at which no product arrives."""
SHARED_BYTES = 128
"""Bytes of shared memory that a matrix product of a warp group reads per cycle."""


def step_of(
    opcode: str, operands: str, encoding: int, registers: UniformRegisters | None = None
) -> Step:
    """Read an instruction.

    Args:
        opcode, operands: as nvdisasm prints them.
        encoding: the upper 64 of its 128 bits, with what the assembler knows of delays.
        registers: what was before it, for products into tensor memory and their barriers.
    """
    control = encoding >> 41
    kind, amount, last, barrier = "other", 0.0, False, 0
    known = registers or UniformRegisters()
    base, *parts = opcode.split(".")
    if base in _KINDS:
        kind = _KINDS[base]
        width = next((_BYTES[part] for part in parts if part in _BYTES), 4)
        amount = float(_MATRICES if base in ("LDSM", "STSM") else _LANES * width)
    elif found := GROUP.match(opcode):
        m, n, k = map(int, found.groups())
        kind, last = "product", "gsb0" in operands
        amount = product_cycles(m, n, k, tf32="TF32" in opcode, left="gdesc" in _left(operands))
    elif opcode.startswith("WARPGROUP.DEPBAR"):
        kind, amount = "products", _number(operands)
    elif opcode.startswith("DEPBAR.LE") and "SB0" in operands:
        kind, amount = "copies", _number(operands)
    elif opcode.startswith("BAR.SYNC"):
        kind = "barrier"
    elif opcode.startswith("SYNCS.PHASECHK"):
        kind, barrier = "asks", known.barrier(operands)
    elif opcode.startswith(tensor_products.PRODUCT):
        kind, descriptor = "product", known.descriptor(operands)
        left = operands.lstrip().startswith("gdesc")
        amount = inf
        if descriptor is not None:
            amount = tensor_products.product_cycles(descriptor, left=left)
    elif opcode.startswith(tensor_products.SIGNAL):
        kind, barrier = "signal", known.barrier(operands)
    elif opcode.startswith(tensor_products.ALLOCATION):
        # asked again until another block frees its tensor memory
        kind, barrier = "asks", NOBODYS
    elif base in ("LDTM", "STTM"):
        kind, amount = "tensor", _columns(opcode)
    elif opcode == "FENCE.VIEW.ASYNC.T":
        kind = "stored"
    return Step(
        kind=kind,
        stall=control & 15,
        sets=control >> 5 & 7,
        reads=control >> 8 & 7,
        waits=control >> 11 & 63,
        amount=amount,
        last=last,
        barrier=barrier,
    )


def product_cycles(m: int, n: int, k: int, *, tf32: bool, left: bool) -> float:
    """The cycles of a product of [m, k] and [k, n] by a warp group of Hopper.

    The matrix units of an SM do 4096 FLOPs per cycle with 16-bit operands. A narrow product takes
    longer: its operands come from shared memory.

    Args:
        tf32: whether the operands are tf32; if not, they have 16 bits.
        left: whether the left operand is in shared memory, not in registers.
    """
    size, rate = (4, 2048) if tf32 else (2, 4096)
    read = size * k * (n + (m if left else 0))
    return max(2 * m * n * k / rate, read / SHARED_BYTES)


def _columns(opcode: str) -> float:
    """The columns of tensor memory that a load or store moves, e.g. 64 of ``16dp256bit.x8``."""
    found = _COLUMNS.search(opcode)
    return int(found[1] or _COLUMN_BITS) / _COLUMN_BITS * int(found[2]) if found else 1.0


def _left(operands: str) -> str:
    """The left operand: the second one, or the first if both are in one descriptor."""
    return operands.split(",")[1]


def _number(operands: str) -> float:
    found = _NUMBER.search(operands)
    return float(int(found[1], 16)) if found else 0.0
