"""The environment of a measurement: everything besides the config that a time depends on."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

HARNESS_VERSION = 1
"""Raised when a change of the harness makes old times incomparable with new ones."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Two times may be compared, and a known failure trusted, only within one environment.

    What the kernels are rendered to is no part of it: each trial says that of its own.

    Args:
        device: the model, as CPU or driver name it.
        arch: as the target names it, e.g. ``sm_90``.
        driver: of the GPU; None on a CPU and where NVML is missing.
        triton: None where it is not installed.
        platform: system, machine and C library; not the kernel's patch level, which would split
            the results at every update.
        threads: of torch on the CPU.
    """

    device: str
    arch: str
    driver: str | None
    torch: str
    triton: str | None
    python: str
    platform: str
    threads: int
    harness_version: int = HARNESS_VERSION

    @property
    def hash(self) -> str:
        """The content hash by which databases know the environment."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprint(device: str, *, arch: str) -> Environment:
    """Describe this machine for measurements on a device.

    Args:
        device: a torch device, ``cpu``, ``cuda`` or ``cuda:1``.
        arch: of the target.
    """
    import torch

    gpu = torch.device(device).type != "cpu"
    return Environment(
        device=torch.cuda.get_device_name(device) if gpu else cpu_model(),
        arch=arch,
        driver=gpu_driver() if gpu else None,
        torch=str(torch.__version__),
        triton=_triton_version(),
        python=platform.python_version(),
        platform="-".join(
            part for part in (platform.system(), platform.machine(), *platform.libc_ver()) if part
        ),
        threads=torch.get_num_threads(),
    )


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's model name; its machine type where the system does not tell."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def gpu_driver() -> str | None:
    """The version of the NVIDIA driver, by NVML; None where there is no NVML."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no NVIDIA driver, e.g. an AMD machine
        return None
    try:
        version = pynvml.nvmlSystemGetDriverVersion()
    finally:
        pynvml.nvmlShutdown()
    return version.decode() if isinstance(version, bytes) else str(version)


def _triton_version() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return None
    import triton

    return str(triton.__version__)
