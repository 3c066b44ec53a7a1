"""A worker that verifies variants works on the device that its parent means."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from gdn_ops.errors import LaunchError
from gdn_ops.verify.seen_device import seen_device
from gdn_ops.verify.worker import ready


def test_a_worker_that_sees_another_device_is_not_ready(monkeypatch) -> None:
    cpu = torch.device("cpu")
    assert ready({"device": "cpu", "seen": seen_device(cpu)}) == {"sum": 2.0}
    h100 = SimpleNamespace(name="H100", multi_processor_count=132, total_memory=80)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: h100)
    seen = seen_device(torch.device("cuda:0"))
    assert seen == "H100 with 132 SMs and 80 bytes"
    with pytest.raises(LaunchError, match=r"sees cpu, and this process H100 .*VISIBLE_DEVICES"):
        ready({"device": "cpu", "seen": seen})
