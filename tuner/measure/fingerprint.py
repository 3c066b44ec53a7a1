"""The environment of a measurement: what a time depends on besides the variant."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from gdn_ops.dispatch import this_machine
from gdn_ops.toolchain import driver_version, ptxas_version, torch_version, triton_version

HARNESS_VERSION = 1
"""To be raised when a change of the harness makes old times incomparable with new ones."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The environment of a trial. Times, and failures, only apply within one environment.

    The sources of the kernels are not part of it: each trial has their hashes.

    Args:
        device: model name of the CPU or GPU.
        arch: as the target names it, e.g. ``sm_90``.
        driver: version of the GPU driver; None on a CPU or if it is unknown.
        triton: None if it is not installed.
        ptxas: version of NVIDIA's assembler; None for other devices.
        platform: system, machine and C library. The version of the operating system's kernel is
            left out, because every update would make all results stale.
        threads: PyTorch's CPU threads.
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
    ptxas: str | None = None

    @property
    def hash(self) -> str:
        """A hash of the content, by which databases recognize the environment.

        An unknown ptxas is left out, so that environments from before it was recorded keep theirs.
        """
        facts = {n: x for n, x in asdict(self).items() if (n, x) != ("ptxas", None)}
        text = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def fingerprint(device: str, *, arch: str, threads: int | None = None) -> Environment:
    """Describe this machine for measurements on a device.

    Args:
        device: a torch device, e.g. ``cpu``, ``cuda`` or ``cuda:1``.
        arch: architecture of the target.
        threads: CPU threads of the measurements; None for those that PyTorch has now.
    """
    gpu = not device.startswith("cpu")
    return Environment(
        device=_gpu_name(device) if gpu else cpu_model(),
        arch=arch,
        driver=driver_version() if gpu else None,
        torch=torch_version(),
        triton=triton_version(),
        ptxas=ptxas_version(arch) if gpu else None,
        python=platform.python_version(),
        platform="-".join(
            part for part in (platform.system(), platform.machine(), *platform.libc_ver()) if part
        ),
        threads=this_machine.threads() if threads is None else threads,
    )


def _gpu_name(device: str) -> str:
    import torch

    return torch.cuda.get_device_name(device)


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's model name; if the system does not tell it, the machine type."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return " ".join(value.split())
    return platform.processor() or platform.machine()
