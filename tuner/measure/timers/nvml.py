"""The state of a GPU during a measurement, from NVML: clocks, heat, throttling, other processes."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""NVML's clock event reasons, by bit, that mean lower clocks than requested."""


def gpu_state(device: torch.device) -> dict[str, Any]:
    """Read a GPU's state.

    Returns:
        ``sm_mhz``, ``memory_mhz``, ``celsius``, ``watts``, ``throttled`` (reasons), ``processes``
        and ``warnings`` (in words); or only ``unknown``, why the state is not known.
    """
    if importlib.util.find_spec("pynvml") is None:
        return {"unknown": "pynvml is not installed; pip install nvidia-ml-py"}
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return {"unknown": f"NVML cannot be used: {error}"}
    try:
        return _read(pynvml, device)
    except pynvml.NVMLError as error:  # e.g. a part of a GPU (MIG), which has no clocks of its own
        return {"unknown": f"NVML cannot read this GPU: {error}"}
    finally:
        pynvml.nvmlShutdown()


def _read(nvml: Any, device: torch.device) -> dict[str, Any]:
    # by UUID, because CUDA_VISIBLE_DEVICES renumbers torch's devices and not NVML's
    uuid = str(torch.cuda.get_device_properties(device).uuid)
    handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}")
    reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
    processes = len(nvml.nvmlDeviceGetComputeRunningProcesses(handle))
    return {
        "sm_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_mhz": nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "celsius": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "watts": nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
        "throttled": throttling(reasons),
        "processes": processes,
        "warnings": gpu_warnings(throttling(reasons), processes),
    }


def throttling(reasons: int) -> list[str]:
    """The names of the throttling bits that are set."""
    return [name for bit, name in THROTTLING.items() if reasons & bit]


def gpu_warnings(throttled: list[str], processes: int) -> list[str]:
    """Warnings about times on this GPU; ``processes`` includes this one."""
    found = [f"throttled GPU: {', '.join(throttled)}"] if throttled else []
    if processes > 1:
        found.append(f"shared GPU: {processes - 1} other processes compute on it")
    return found
