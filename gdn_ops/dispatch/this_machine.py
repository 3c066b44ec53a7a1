"""This machine as PyTorch sees it: its CPU, its threads, and whether it has a GPU.

PyTorch takes a second to import, so it is asked only where its answer is not certain without it,
or where it is imported already.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

from gdn_ops.results_path import variables

CPUINFO = Path("/proc/cpuinfo")
_AVX512 = {"fma", "avx512vl", "avx512bw", "avx512dq"}
_AVX2 = {"fma", "avx2"}
"""What a CPU must have so that PyTorch runs its kernels for AVX-512, and for AVX2."""

_OF_THREADS = ("OMP_", "MKL_", "KMP_", "GOMP_")
"""Starts of the variables by which a user sets how many threads PyTorch has."""
_OF_CAPABILITY = "ATEN_CPU_CAPABILITY"

_DEVICES = ("nvidia*", "kfd", "dxg")
"""Files in /dev by which a program reaches a GPU of NVIDIA, of AMD, or of Windows below WSL."""


def has_gpu() -> bool:
    """Whether PyTorch can use a GPU here."""
    if _torch() is None and not _may_have_gpu():
        return False
    import torch

    return torch.cuda.is_available()


def cpu_arch() -> str:
    """The vector extension that names the CPU's target."""
    chosen, flags = _capability(), CpuInfo.read().flags
    if chosen.startswith("avx512"):
        if "amx_bf16" in flags:
            return "amx-bf16"
        return "avx512-bf16" if "avx512_bf16" in flags else "avx512"
    return "scalar" if chosen == "default" else chosen


def _capability() -> str:
    """The vector extension for which PyTorch has chosen its kernels, in lower case."""
    known = None if _torch() is not None else CpuInfo.read().capability(variables())
    if known is not None:
        return known
    import torch

    return torch.backends.cpu.get_cpu_capability().lower()


def threads() -> int:
    """How many threads PyTorch computes with."""
    known = (
        None if _torch() is not None else CpuInfo.read().threads(variables(), usable_processors())
    )
    if known is not None:
        return known
    import torch

    return torch.get_num_threads()


def usable_processors() -> frozenset[int]:
    """The processors that this process may use; empty if the system does not say."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return frozenset(affinity(0)) if affinity else frozenset()


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


def _torch() -> ModuleType | None:
    return sys.modules.get("torch")


def _may_have_gpu() -> bool:
    """Whether there is a device file of a GPU, or a driver that may still make one."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return True
    if any(path for name in _DEVICES for path in Path("/dev").glob(name)):
        return True
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
