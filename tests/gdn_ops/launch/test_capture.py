"""During the capture of a CUDA graph, actions that are not possible are refused."""

from __future__ import annotations

import pytest
import torch

from gdn_ops import chunk_gated_delta_rule, using
from gdn_ops.errors import LaunchError
from gdn_ops.launch.capture import refuse_capture
from gdn_ops.launch.packing import Packing, packing_of


class OnGpu(torch.Tensor):
    """A CPU tensor that claims to be on a GPU."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda", 0)


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Chosen:
        def __init__(self, device: object) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(torch.cuda, "device", Chosen)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)


def offsets() -> OnGpu:
    return torch.tensor([0, 3, 8], dtype=torch.int32).as_subclass(OnGpu)


def test_the_cpu_is_never_capturing(capturing: None) -> None:
    refuse_capture(torch.device("cpu"), "anything")
    assert packing_of(torch.tensor([0, 3, 8]), 8).offsets == (0, 3, 8)


def test_reading_offsets_back_is_refused(capturing: None) -> None:
    with pytest.raises(
        LaunchError, match=r"reading a new cu_seqlens.*capture of a CUDA graph.*before"
    ):
        packing_of(offsets(), 8)


def test_tables_made_before_a_capture_are_used_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    packing = Packing(torch.tensor([0, 3, 8], dtype=torch.int32), (0, 3, 8))
    known = packing.chunks(4)
    packing.cu_seqlens = offsets()
    monkeypatch.setattr("gdn_ops.launch.packing.refuse_capture", _refuse)
    assert packing.chunks(4) is known
    with pytest.raises(LaunchError, match="tables of chunks"):
        packing.chunks(8)
    with pytest.raises(LaunchError, match="tables of segments"):
        packing.segments(4)


def _refuse(device: torch.device, what: str) -> None:
    assert device.type == "cuda"
    raise LaunchError(what)


def test_packed_calls_of_plain_pytorch_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdn_ops.launch.launcher.refuse_capture", _refused)
    q, k, v = (torch.randn(1, 8, 2, 16) for _ in range(3))
    g, beta = -torch.rand(1, 8, 2), torch.rand(1, 8, 2)
    with using("torch"):
        chunk_gated_delta_rule(q, k, v, g, beta)
        with pytest.raises(LaunchError, match="plan torch, which waits for the GPU"):
            chunk_gated_delta_rule(q, k, v, g, beta, cu_seqlens=torch.tensor([0, 3, 8]))


def _refused(device: torch.device, what: str) -> None:
    raise LaunchError(what)
