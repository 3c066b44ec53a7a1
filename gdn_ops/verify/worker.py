"""A child process that verifies variants before their first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.errors import LaunchError
from gdn_ops.verify.seen_device import seen_device
from gdn_ops.workers.worker import main

SECONDS = 1.0
"""For all cases after the first ones, whose kernels are compiled."""
JOBS = {name: f"{__package__}.worker:{name}" for name in ("ready", "check")}


def ready(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Find out whether this process can use the device, and whether it is the parent's.

    Args:
        payload: device, and seen, what the parent sees under that name.

    Raises:
        LaunchError: this process sees another device.
    """
    import torch
    import triton  # noqa: F401

    device = torch.device(payload["device"])
    total = torch.ones(2, device=device).sum().item()
    if (seen := seen_device(device)) != payload["seen"]:
        raise LaunchError(
            f"it sees {seen}, and this process {payload['seen']}; set CUDA_VISIBLE_DEVICES before "
            "PyTorch uses a GPU and do not change it"
        )
    return {"sum": total}


def check(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Verify one variant; see ``verify_first_use``.

    Args:
        payload: device, problem (facts) and variant (JSON).

    Raises:
        GdnError: problem or variant cannot be read, rendered, compiled or launched.
    """
    from gdn_ops.verify.accuracy_gate import verify_first_use

    problem = Problem.from_facts(payload["problem"])
    variant = Variant.from_json(payload["variant"], problem)
    found = verify_first_use(problem, variant, device=payload["device"], seconds=SECONDS)
    return asdict(found)


if __name__ == "__main__":
    main(JOBS)
