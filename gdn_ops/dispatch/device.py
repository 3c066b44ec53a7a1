"""The target (hardware description) of a torch device."""

from __future__ import annotations

from functools import cache

import torch

from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import cpu_target, measured_target, target_of_device
from gdn_ops.dispatch import this_machine
from gdn_ops.errors import InvalidInput, UnsupportedProblem


def local_device(device: torch.device | str) -> torch.device:
    """Return a device of this machine; a GPU has its index, and ``cuda`` is the current GPU.

    Raises:
        InvalidInput: the name is not a torch device, or this machine does not have the device.
    """
    try:
        where = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InvalidInput(
            f"device={shown(device)} is not a torch device; give e.g. 'cpu' or 'cuda:0'."
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
    """Return the target of a torch device.

    A CPU target is named by its vector extension, e.g. ``cpu-avx512-bf16``; the model and the
    thread count are stored with each measurement. A GPU that ``TARGETS`` does not list is
    described by what its driver reports.

    Raises:
        UnsupportedProblem: the device is neither ``cpu`` nor ``cuda``.
    """
    if device.type == "cpu":
        return cpu_target(this_machine.cpu_arch(), threads=this_machine.threads())
    if device.type != "cuda":
        raise UnsupportedProblem(
            f"device {device} has type {device.type!r}; gdn-ops runs on cpu and cuda "
            "(PyTorch calls AMD GPUs cuda too)."
        )
    return _gpu_target(device)


def _gpu_target(device: torch.device) -> Target:
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        vendor, arch = "amd", properties.gcnArchName.split(":")[0]
    else:
        vendor, arch = "nvidia", f"sm_{properties.major}{properties.minor}"
    sms, memory = properties.multi_processor_count, properties.total_memory
    known = target_of_device(properties.name, arch, sms=sms, memory=memory)
    if known is not None:
        return known
    return measured_target(
        properties.name,
        vendor,
        arch,
        sms=sms,
        memory=memory,
        shared_block=getattr(properties, "shared_memory_per_block_optin", 0),
        shared_sm=properties.shared_memory_per_multiprocessor,
        l2=properties.L2_cache_size,
    )
