"""The loop over chunks of a partition, in NVIDIA's machine code."""

from __future__ import annotations

import re
import subprocess
import tempfile

import triton

_LABEL = re.compile(r"^(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)(.*)$")
_TO = re.compile(r"`\((\.L_x_\d+)\)")


def listing_of(cubin: bytes) -> str:
    """What ``nvdisasm --print-code`` prints."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.nvdisasm.path, "--print-code", file.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def counts(listing: str, products: int, opcode: str = "HGMMA", waits: int = 1) -> dict[str, int]:
    """What a chunk takes of a partition; arguments as of ``chunk_loop``."""
    loop = chunk_loop(listing, products, opcode, waits)
    return {
        "products": count(loop, opcode),
        "instructions": len(loop),
        "waits": count(loop, "SYNCS.PHASECHK", "WARPGROUP.DEPBAR", "DEPBAR"),
        "barriers": count(loop, "BAR.SYNC"),
        "stores": count(loop, "STS", "STG"),
        "spilled": count(loop, "STL", "LDL"),
    }


def chunk_loop(listing: str, products: int, opcode: str = "HGMMA", waits: int = 1) -> list[str]:
    """The opcodes of the shortest loop with at least so many matrix instructions.

    What jumps back over more waits than a chunk has is not a loop over chunks. A wait that does
    not succeed at once spins outside of the loop and is not counted.

    Args:
        listing: what ``nvdisasm --print-code`` prints.
        products: how many matrix instructions a chunk has.
        opcode: what these instructions start with.
        waits: barriers that a chunk waits for, at most.
    """
    opcodes: list[str] = []
    labels: dict[str, int] = {}
    loops: list[list[str]] = []
    for line in listing.splitlines():
        if found := _LABEL.match(line):
            labels[found[1]] = len(opcodes)
        elif (found := _INSTRUCTION.match(line)) and found[1] != "NOP":
            opcodes.append(found[1])
            to = _TO.search(found[2])
            if found[1].startswith("BRA") and to and to[1] in labels:
                loops.append(opcodes[labels[to[1]] :])
    of_chunks = (loop for loop in loops if count(loop, "SYNCS.PHASECHK") <= waits)
    return min((loop for loop in of_chunks if count(loop, opcode) >= products), key=len)


def count(opcodes: list[str], *starts: str) -> int:
    """How many opcodes start with one of these."""
    return sum(opcode.startswith(starts) for opcode in opcodes)
