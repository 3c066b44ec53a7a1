"""Target: a device as the tuner sees it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Target:
    """One device model; the rows are in ``targets.py``.

    Args:
        name: what a user types, e.g. ``h200``.
        vendor: ``nvidia``, ``amd`` or ``cpu``.
        arch: what the compiler is told: ``sm_90``, ``gfx942``; of a CPU its vector extension.
        device: words of the driver's name for it, matched without case in any order.
        sms: streaming multiprocessors or compute units (cores on a CPU).
        warp: threads a warp or wavefront.
        shared_block: bytes of shared memory one block may use (opt-in limit).
        shared_sm: bytes of shared memory an SM has.
        registers_sm: 32-bit registers an SM has.
        registers_thread: 32-bit registers a thread may use.
        warps_sm: resident warps an SM holds.
        blocks_sm: resident blocks an SM holds.
        reserved_block: bytes of an SM's shared memory that each block costs beyond its own.
        l2: bytes of last-level cache.
        bandwidth: bytes a second to device memory.
        flops_16, flops_tf32, flops_fp32: dense peak FLOP/s of bf16/fp16 matrix, tf32 matrix and
            fp32 vector arithmetic; 0 where the device has none.

    A figure that its maker does not publish is 0: unknown, never a guess.
    """

    name: str
    vendor: str
    arch: str
    device: str
    sms: int
    warp: int = 32
    shared_block: int = 0
    shared_sm: int = 0
    registers_sm: int = 65536
    registers_thread: int = 255
    warps_sm: int = 64
    blocks_sm: int = 32
    reserved_block: int = 0
    l2: int = 0
    bandwidth: float = 0.0
    flops_16: float = 0.0
    flops_tf32: float = 0.0
    flops_fp32: float = 0.0

    @property
    def gpu(self) -> bool:
        return self.vendor != "cpu"

    @property
    def capability(self) -> int:
        """The compute capability as one number, 90 for sm_90; 0 for another vendor."""
        return int(self.arch.removeprefix("sm_")) if self.vendor == "nvidia" else 0

    @property
    def descriptors(self) -> bool:
        """Whether tensor descriptors become bulk copies (TMA) here."""
        return self.capability >= 90
