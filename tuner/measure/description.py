"""Description: the job of a worker that says what it measures on, and in which environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from gdn_ops.dispatch.device import target_of
from gdn_ops.tuner.measure.fingerprint import fingerprint


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the machine that the worker runs on.

    Args:
        job: device (a torch device), threads (a number, or None for PyTorch's default) and cpus,
            the most threads of the default.

    Returns:
        ``target`` and ``environment`` have the fields of ``Target`` and ``Environment``; the
        environment's threads are those to measure with.
    """
    torch.set_num_threads(job["threads"] or min(torch.get_num_threads(), job["cpus"]))
    target = target_of(torch.device(job["device"]))
    environment = fingerprint(job["device"], arch=target.arch)
    return {"target": asdict(target), "environment": asdict(environment)}
