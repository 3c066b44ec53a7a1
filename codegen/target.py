"""Target: a device as the tuner sees it."""

from __future__ import annotations

from dataclasses import dataclass

TENSOR_MEMORY_COLUMNS = 512
"""Columns of the tensor memory of an SM that has one (sm_100 to sm_110)."""
INTERPRETER = "interpreter"
"""The device of a target that is the interpreters of Triton and Gluon, on a CPU."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One device model; the rows are in ``targets.py``.

    Args:
        name: what a user types, e.g. ``h200``.
        vendor: ``nvidia``, ``amd`` or ``cpu``.
        arch: what the compiler is told: ``sm_90``, ``gfx942``; for a CPU its vector extension.
        device: words of the driver's name for the device, matched in any order and ignoring case.
        sms: streaming multiprocessors or compute units (cores of a CPU).
        warp: threads per warp or wavefront.
        shared_block: bytes of shared memory that one block may use (opt-in limit).
        shared_sm: bytes of shared memory per SM.
        registers_sm: 32-bit registers per SM.
        registers_thread: 32-bit registers that one thread may use.
        warps_sm: resident warps per SM.
        blocks_sm: resident blocks per SM.
        reserved_block: bytes of an SM's shared memory that each block costs besides its own.
        l2: bytes of last-level cache.
        memory: bytes of device memory.
        bandwidth: bytes per second to device memory.
        flops_16, flops_tf32, flops_fp32: dense peak FLOP/s of bf16/fp16 matrix, tf32 matrix and
            fp32 vector arithmetic; 0 if the device has none.

    A figure that the maker does not publish is 0, which means unknown; it is never a guess.
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
    memory: int = 0
    bandwidth: float = 0.0
    flops_16: float = 0.0
    flops_tf32: float = 0.0
    flops_fp32: float = 0.0

    @property
    def gpu(self) -> bool:
        """Whether this is a GPU, the only kind of device that runs Triton kernels."""
        return self.vendor != "cpu"

    @property
    def capability(self) -> int:
        """The CUDA compute capability as one number, e.g. 90 for sm_90; 0 for other vendors."""
        return int(self.arch.removeprefix("sm_").rstrip("af")) if self.vendor == "nvidia" else 0

    @property
    def multiplies_bf16(self) -> bool:
        """Whether a CPU has instructions for products of bf16 values."""
        return self.vendor == "cpu" and self.arch in ("avx512-bf16", "amx-bf16")

    @property
    def descriptors(self) -> bool:
        """Whether loads through tensor descriptors become bulk copies (TMA) here."""
        return self.capability >= 90

    @property
    def tensor_memory(self) -> bool:
        """Whether an SM has tensor memory for the results of matrix products (sm_100 to sm_110)."""
        return 100 <= self.capability < 120

    def accumulates_in_tensor_memory(self, num_warps: int) -> bool:
        """Whether a kernel's matrix products accumulate in tensor memory instead of registers.

        The instructions that do so need a warp group, four warps.
        """
        return self.tensor_memory and num_warps >= 4
