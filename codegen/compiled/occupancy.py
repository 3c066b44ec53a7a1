"""Occupancy: how many blocks of a kernel an SM holds at once, and what limits it."""

from __future__ import annotations

from dataclasses import dataclass

from gdn_ops.codegen.target import TENSOR_MEMORY_COLUMNS, Target

PARTITIONS = 4
REGISTER_STEP = 8


@dataclass(frozen=True)
class Occupancy:
    """The resident blocks and warps of one SM.

    Args:
        blocks: blocks resident at once; 0 if not even one fits.
        warps: their warps.
        fraction: ``warps`` divided by the most warps that the SM holds.
        limit: what runs out first: registers, shared memory, tensor memory, warps or blocks.
    """

    blocks: int
    warps: int
    fraction: float
    limit: str


def occupancy(
    target: Target, *, warps: int, registers: int, shared: int, tensor_memory: int = 0
) -> Occupancy:
    """The occupancy of a kernel, by the rules of the CUDA occupancy calculator; AMD's are alike.

    An SM has four partitions with one scheduler and a quarter of the registers each. A warp's
    registers are in one partition, and are allocated in steps of 8 per thread.

    Args:
        target: the GPU.
        warps: warps per block.
        registers: 32-bit registers per thread.
        shared: bytes of shared memory per block.
        tensor_memory: columns of tensor memory per block.
    """
    blocks = {
        "warps": target.warps_sm // warps,
        "registers": PARTITIONS * _warps_of_partition(target, registers) // warps,
        "shared memory": target.shared_sm // max(1, shared + target.reserved_block),
        "blocks": target.blocks_sm,
    }
    if tensor_memory:
        blocks["tensor memory"] = TENSOR_MEMORY_COLUMNS // tensor_memory
    limit = min(blocks, key=lambda name: blocks[name])
    resident = blocks[limit] * warps
    return Occupancy(blocks[limit], resident, resident / target.warps_sm, limit)


def _warps_of_partition(target: Target, registers: int) -> int:
    thread = -(-max(1, registers) // REGISTER_STEP) * REGISTER_STEP
    return target.registers_sm // PARTITIONS // (thread * target.warp)
