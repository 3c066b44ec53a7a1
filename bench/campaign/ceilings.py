"""The ceilings of a device: the rates of a large copy and of large products of random matrices.

``python -m bench.campaign.ceilings FILE --device cuda:0``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gdn_ops.dispatch.device import target_of
from gdn_ops.tuner.measure.interleaving import interleaved
from gdn_ops.tuner.measure.statistics import estimate
from gdn_ops.tuner.measure.timers import timer_of
from gdn_ops.tuner.report import console

ROUNDS = 7


def ceilings(device: torch.device) -> dict[str, Any]:
    """Measure a copy's bytes per second (read and written), and FLOPs per second by dtype."""
    gpu = device.type == "cuda"
    numbers, side = (2**30, 8192) if gpu else (2**24, 512)
    found: dict[str, Any] = {"device": _name(device), "target": target_of(device).name}
    found["copy"] = 8 * numbers / _seconds(_copy(numbers, device), device)
    for name, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        found[name] = 2 * side**3 / _seconds(_product(side, dtype, device), device)
    return found


def _copy(numbers: int, device: torch.device) -> Callable[[], object]:
    source = torch.randn(numbers, device=device)
    copy = torch.empty_like(source)
    return lambda: copy.copy_(source)


def _product(side: int, dtype: torch.dtype, device: torch.device) -> Callable[[], object]:
    """Use random numbers, as products of zeros take less power and so less time."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    timer = timer_of(device, threads=torch.get_num_threads())
    samplers = timer.samplers(lambda i: work(), 1, eager=True)
    (sampler,) = samplers.values()
    return estimate(interleaved({"": sampler}, rounds=ROUNDS, seconds=0.5)[""]).median


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.campaign.ceilings", description=__doc__)
    parser.add_argument("file", type=Path, help="JSON to write")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    found = ceilings(torch.device(arguments.device))
    arguments.file.write_text(json.dumps(found, indent=1) + "\n")
    console.table(("ceiling", "measured>"), list(ceiling_texts(found).items()))


def ceiling_texts(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the ceilings by name, as text with units."""
    rates = {name: f"{found[name] / 1e12:.3g} TFLOP/s" for name in ("bf16", "fp16", "fp32")}
    return {"copy": f"{found['copy'] / 1e9:.0f} GB/s", **rates}


if __name__ == "__main__":
    main()
