"""MachineCode: what a compiled kernel's binary says about itself, whoever made the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdn_ops.codegen.compiled.loops import Loop


@dataclass(frozen=True, kw_only=True)
class MachineCode:
    """One kernel's resources and static instruction mix.

    Args:
        registers: 32-bit registers a thread.
        stack: bytes of local memory a thread, which is where spilled registers go.
        shared: bytes of static shared memory a block.
        instructions: all instructions, padding apart.
        matrix: matrix multiply instructions by kind: ``HMMA`` (a warp's), ``HGMMA`` (a warp
            group's, sm_90), ``UTCHMMA`` (tensor memory, sm_100), ``MFMA`` and ``WMMA`` (AMD).
        copies: asynchronous copies to shared memory by kind: ``LDGSTS`` (a thread's),
            ``UTMALDG``/``UTMASTG`` (a tensor descriptor's, TMA), ``LDS`` (AMD).
        local: loads and stores of local memory.
        loops: the kernel's loops, itself first; see ``loops_of``.
    """

    registers: int
    stack: int
    shared: int
    instructions: int
    matrix: Mapping[str, int]
    copies: Mapping[str, int]
    local: int
    loops: tuple[Loop, ...] = ()
