"""Pretending to have a GPU, as far as Triton's just-in-time compiler and libraries check."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from gdn_ops.codegen.compiled.compile import BACKENDS
from gdn_ops.codegen.target import Target


class AbsentDriver:
    """A replacement of Triton's GPU driver that describes a target and launches nothing."""

    def __init__(self, target: Target) -> None:
        self._target = GPUTarget(
            BACKENDS[target.vendor], target.capability or target.arch, target.warp
        )
        properties = {
            "max_shared_mem": target.shared_block,
            "multiprocessor_count": target.sms,
            "warpSize": target.warp,
        }
        self.utils = SimpleNamespace(get_device_properties=lambda index: properties)

    def get_current_target(self) -> GPUTarget:
        return self._target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cuda", 0)


def install(target: Target) -> None:
    """Make the target appear as the GPU of this process; import other libraries afterwards.

    Nothing is restored, so use it only in a process that does nothing else.
    """
    driver.set_active(AbsentDriver(target))
    facts: dict[str, Any] = {
        "get_device_name": lambda device=None: f"NVIDIA {target.device}",
        "get_device_capability": lambda device=None: divmod(target.capability, 10),
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "device": lambda device: nullcontext(),
    }
    for name, answer in facts.items():
        setattr(torch.cuda, name, answer)
