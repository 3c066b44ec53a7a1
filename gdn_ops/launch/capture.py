"""The capture of a CUDA graph, inside which nothing can be compiled, read back or sent over."""

from __future__ import annotations

import torch

from gdn_ops.errors import LaunchError


def refuse_capture(device: torch.device, what: str) -> None:
    """Refuse to do something inside a capture on a device.

    Args:
        what: what cannot be done there and why it is due, as the subject of a sentence.

    Raises:
        LaunchError: the current stream of the device is being captured.
    """
    if device.type != "cuda":
        return
    with torch.cuda.device(device):
        capturing = torch.cuda.is_current_stream_capturing()
    if capturing:
        raise LaunchError(
            f"{what} cannot be inside the capture of a CUDA graph; make the same call once before "
            "it, or see gdn_ops.warmup."
        )
