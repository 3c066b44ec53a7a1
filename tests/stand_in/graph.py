"""CUDA graphs of the stand-in GPU: what a capture noted, done again on the same memory."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import torch

from tests.stand_in.gpu import GPU, Step


class CUDAGraph:
    """Steps of work, and the memory that was made for them."""

    def __init__(self, keep_graph: bool = False) -> None:
        self._steps: list[Step] | None = None
        self._kept: list[object] = []

    def replay(self) -> None:
        if self._steps is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        if GPU.capturing:
            GPU.wait("replaying a graph inside a capture")
        with torch.no_grad():
            for step in self._steps:
                step()

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        if GPU.capturing or self._steps is not None:
            raise RuntimeError("This CUDAGraph, or another one, is being or was captured.")
        GPU.steps, GPU.kept, GPU.broken = [], self._kept, False

    def capture_end(self) -> None:
        steps, GPU.steps, GPU.kept = GPU.steps, None, []
        if GPU.broken:
            raise RuntimeError(
                "CUDA error: operation failed due to a previous error during capture"
            )
        self._steps = steps

    def reset(self) -> None:
        self._steps = None
        self._kept.clear()

    def pool(self) -> tuple[int, int]:
        return (0, 1)


class graph:
    """``torch.cuda.graph``."""

    def __init__(
        self,
        cuda_graph: CUDAGraph,
        pool: Any = None,
        stream: Any = None,
        capture_error_mode: str = "global",
    ) -> None:
        self._graph = cuda_graph

    def __enter__(self) -> None:
        torch.cuda.synchronize()
        self._graph.capture_begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._graph.capture_end()
