"""This machine as PyTorch sees it: its CPU, its threads, and whether it has a GPU.

PyTorch takes a second to import, so it is asked only where its answer is not certain without it,
or where it is imported already.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from types import ModuleType

from gdn_ops.cpu_info import CpuInfo
from gdn_ops.results_path import variables

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
