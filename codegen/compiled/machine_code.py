"""MachineCode: what is read from a compiled kernel's binary, for any GPU maker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdn_ops.codegen.compiled.loops import Loop


@dataclass(frozen=True, kw_only=True)
class MachineCode:
    """One kernel's resources and static instruction mix.

    Args:
        registers: 32-bit registers per thread.
        stack: bytes of local memory per thread, where spilled registers go.
        shared: bytes of static shared memory per block.
        instructions: number of instructions, without padding.
        matrix: matrix multiply instructions by kind: ``HMMA`` (per warp), ``HGMMA`` (per warp
            group, sm_90), ``UTCHMMA`` (in tensor memory, sm_100), ``MFMA`` and ``WMMA`` (AMD).
        copies: asynchronous copies to shared memory by kind: ``LDGSTS`` (per thread),
            ``UTMALDG``/``UTMASTG`` (by tensor descriptor, TMA), ``LDS`` (AMD).
        local: loads and stores of local memory.
        loops: the kernel's loops, itself first; see ``loops_of``.
        partitioned: whether its warps are partitions that run side by side.
    """

    registers: int
    stack: int
    shared: int
    instructions: int
    matrix: Mapping[str, int]
    copies: Mapping[str, int]
    local: int
    loops: tuple[Loop, ...] = ()
    partitioned: bool = False
