"""What a process sees under the name of a device: ``cuda:0`` of a child may be another GPU."""

from __future__ import annotations

import torch


def seen_device(device: torch.device) -> str:
    """Describe a device as PyTorch sees it here: name, multiprocessors and bytes of memory."""
    if device.type != "cuda":
        return str(device)
    seen = torch.cuda.get_device_properties(device)
    return f"{seen.name} with {seen.multi_processor_count} SMs and {seen.total_memory} bytes"
