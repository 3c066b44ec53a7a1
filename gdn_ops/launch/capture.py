"""CUDA graph capture: while it lasts nothing can be compiled or copied to or from the GPU."""

from __future__ import annotations

import torch

from gdn_ops.errors import LaunchError


def refuse_capture(device: torch.device, what: str) -> None:
    """Refuse an action if the current stream of a device is being captured.

    Args:
        device: the device of the call.
        what: the action, as the subject of the sentence in the error.

    Raises:
        LaunchError: a capture is in progress.
    """
    if device.type != "cuda":
        return
    with torch.cuda.device(device):
        capturing = torch.cuda.is_current_stream_capturing()
    if capturing:
        raise LaunchError(
            f"{what} is not possible during the capture of a CUDA graph; make the same call once "
            "before the capture, or see gdn_ops.warmup."
        )
