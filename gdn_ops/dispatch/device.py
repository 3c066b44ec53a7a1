"""Which target a torch device is."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, measured_target, target_of_device
from gdn_ops.errors import InvalidInput, UnsupportedProblem


def local_device(device: torch.device | str) -> torch.device:
    """The device of a name, with its index if it is a GPU; ``cuda`` is the current one.

    Raises:
        InvalidInput: it is no device, or not one of this machine.
    """
    try:
        where = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidInput(
            f"device={shown(device)} is no torch device; give e.g. 'cpu' or 'cuda:0'."
        ) from error
    if where.type != "cuda":
        return where
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count or (where.index or 0) >= count:
        gpus = f"cuda:0 to cuda:{count - 1}" if count else "none"
        raise InvalidInput(f"device {where} is not in this machine (GPUs: {gpus}); use 'cpu'.")
    return where if where.index is not None else torch.device("cuda", torch.cuda.current_device())


@cache
def target_of(device: torch.device) -> Target:
    """The target a torch device is.

    A CPU is named by the vector extension that decides its rates, e.g. ``cpu-avx512-bf16``; the
    model and its threads stand in each row's environment. A GPU without a row in ``TARGETS`` is
    described by what its driver says.

    Raises:
        UnsupportedProblem: a device kind that gdn-ops does not know (not cpu or cuda).
    """
    if device.type == "cpu":
        arch = _cpu_arch()
        return replace(TARGETS["cpu"], name=f"cpu-{arch}", arch=arch, sms=torch.get_num_threads())
    if device.type != "cuda":
        raise UnsupportedProblem(
            f"device {device} is of kind {device.type!r}; gdn-ops runs on cpu and cuda "
            "(AMD GPUs are cuda to PyTorch)."
        )
    return _gpu_target(device)


def _cpu_arch() -> str:
    flags = _cpu_flags()
    capability = torch.backends.cpu.get_cpu_capability().lower()
    if capability.startswith("avx512"):
        if "amx_bf16" in flags:
            return "amx-bf16"
        return "avx512-bf16" if "avx512_bf16" in flags else "avx512"
    return "scalar" if capability == "default" else capability


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    line = next((x for x in text.splitlines() if x.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


def _gpu_target(device: torch.device) -> Target:
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        vendor, arch = "amd", properties.gcnArchName.split(":")[0]
    else:
        vendor, arch = "nvidia", f"sm_{properties.major}{properties.minor}"
    known = target_of_device(properties.name, arch, sms=properties.multi_processor_count)
    if known is not None:
        return known
    return measured_target(
        properties.name,
        vendor,
        arch,
        sms=properties.multi_processor_count,
        shared_block=getattr(properties, "shared_memory_per_block_optin", 0),
        shared_sm=properties.shared_memory_per_multiprocessor,
        l2=properties.L2_cache_size,
    )
