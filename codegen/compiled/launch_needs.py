"""LaunchNeeds: what a compiled kernel needs of its launch besides a grid, warps and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LaunchNeeds:
    """What Triton's launcher does for a kernel, and a plain launch does not do.

    Args:
        ctas: blocks per cluster.
        cooperative: all blocks must run at once.
        dependent: the launch may overlap with the kernel before it.
        global_scratch, profile_scratch: bytes of device memory per block, made for each launch.
        host_descriptors: tensor descriptors that the host makes.
    """

    ctas: int = 1
    cooperative: bool = False
    dependent: bool = False
    global_scratch: int = 0
    profile_scratch: int = 0
    host_descriptors: int = 0

    @classmethod
    def of(cls, metadata: Any) -> LaunchNeeds:
        """Read them from a kernel's metadata; a field that a version of Triton lacks is unused."""
        return cls(
            ctas=getattr(metadata, "num_ctas", 1) or 1,
            cooperative=bool(getattr(metadata, "launch_cooperative_grid", False)),
            dependent=bool(getattr(metadata, "launch_pdl", False)),
            global_scratch=getattr(metadata, "global_scratch_size", 0) or 0,
            profile_scratch=getattr(metadata, "profile_scratch_size", 0) or 0,
            host_descriptors=len(getattr(metadata, "tensordesc_meta", None) or ()),
        )

    def unplain(self) -> list[str]:
        """Why a plain launch cannot start the kernel: grid, block, shared memory and arguments."""
        reasons = []
        if self.ctas > 1:
            reasons.append(
                f"it runs in clusters of {self.ctas} blocks, and a plain launch makes none; use "
                "num_ctas=1"
            )
        if self.cooperative:
            reasons.append(
                "all of its blocks must run at once (a cooperative launch); use a variant without "
                "a grid-wide barrier"
            )
        if self.dependent:
            reasons.append(
                "its launch overlaps with the kernel before it (programmatic dependent launch); "
                "use a variant without launch_pdl"
            )
        if self.global_scratch:
            reasons.append(
                f"it needs {self.global_scratch} bytes of scratch in device memory per block for "
                "each launch, e.g. for tensor descriptors; use loads=pointer"
            )
        if self.profile_scratch:
            reasons.append(
                f"it was compiled with a profiler, which needs {self.profile_scratch} bytes of "
                "scratch per block; compile it without one"
            )
        if self.host_descriptors:
            reasons.append(
                f"{self.host_descriptors} of its arguments are tensor descriptors that Triton "
                "makes on the host; use loads=pointer"
            )
        return reasons
