"""The stand-in GPU's state: what is captured, and who waits for it."""

from __future__ import annotations

from collections.abc import Callable

Step = Callable[[], object]
"""Work of the GPU: an operation or a kernel on fixed memory."""

NOT_PERMITTED = "CUDA error: operation not permitted when stream is capturing"


class Gpu:
    """One of them is all there is.

    Args:
        current: index of the current device.
        steps: what the running capture recorded; None outside of one.
        kept: memory that the running capture made; a graph has it as long as it lives.
        broken: the capture did what it may not, and will not end well.
        on_wait: what waiting for the GPU does, as ``torch.cuda.set_sync_debug_mode``.
    """

    def __init__(self) -> None:
        self.current = 0
        self.steps: list[Step] | None = None
        self.kept: list[object] = []
        self.broken = False
        self.on_wait = "default"

    @property
    def capturing(self) -> bool:
        return self.steps is not None

    def do(self, step: Step) -> None:
        """Do some work, or in a capture only note it."""
        if self.steps is None:
            step()
        else:
            self.steps.append(step)

    def wait(self, what: str) -> None:
        """Wait for the GPU, or do what else no capture permits.

        Raises:
            RuntimeError: as CUDA says it in a capture, or PyTorch where waiting is an error.
        """
        if self.capturing:
            self.broken = True
            raise RuntimeError(f"{NOT_PERMITTED} ({what})")
        if self.on_wait == "error":
            raise RuntimeError(f"called a synchronizing CUDA operation ({what})")


GPU = Gpu()
