"""What Linux says of the processors, and what follows from it for PyTorch."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_AVX512 = {"fma", "avx512vl", "avx512bw", "avx512dq"}
_AVX2 = {"fma", "avx2"}
"""What a CPU must have so that PyTorch runs its kernels for AVX-512, and for AVX2."""

_OF_THREADS = ("OMP_", "MKL_", "KMP_", "GOMP_")
"""Starts of the variables by which a user sets how many threads PyTorch has."""
_OF_CAPABILITY = "ATEN_CPU_CAPABILITY"


class CpuInfo:
    """What Linux says of the processors, and what follows from it for PyTorch on x86."""

    def __init__(self, text: str, machine: str) -> None:
        blocks = [dict(map(_fact, block.splitlines())) for block in text.split("\n\n")]
        self._processors = [block for block in blocks if "processor" in block]
        self._x86 = machine == "x86_64"
        of_first = self._processors[0] if self._processors else {}
        self.flags = frozenset((of_first.get("flags") or of_first.get("Features", "")).split())

    @classmethod
    @cache
    def read(cls) -> CpuInfo:
        """The facts of this machine; there are none on another system than Linux."""
        try:
            return cls(CPUINFO.read_text(errors="replace"), platform.machine())
        except OSError:
            return cls("", platform.machine())

    def capability(self, environment: Mapping[str, str]) -> str | None:
        """PyTorch's choice among avx512, avx2 and default; None if only PyTorch knows it."""
        if not self._x86 or not self.flags or _OF_CAPABILITY in environment:
            return None
        if self.flags >= _AVX512:
            return "avx512"
        return "avx2" if self.flags >= _AVX2 else "default"

    def threads(self, environment: Mapping[str, str], usable: frozenset[int]) -> int | None:
        """PyTorch's default of threads; None if only PyTorch knows it.

        MKL counts cores and OpenMP processors, so that it is certain only where both are equal:
        where no core has several processors that this process may use.
        """
        if not self._x86 or any(name.startswith(_OF_THREADS) for name in environment):
            return None
        mine = [each for each in self._processors if int(each["processor"]) in usable]
        cores = {(each.get("physical id"), each.get("core id")) for each in mine}
        return len(mine) or None if len(cores) == len(mine) == len(usable) else None


def _fact(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip(), value.strip()
