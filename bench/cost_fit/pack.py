"""Packing what ``record`` compiled into the file that the fit reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cost_fit.peer_kernels import (
    Body,
    PeerChain,
    PeerConfig,
    PeerKernel,
    Peers,
    bodies_of,
)  # fmt: skip

FLA_INDEX, FLASHINFER, VERSIONS = "fla.json", "flashinfer.cubin", "versions.json"
FLASHQLA: Mapping[str, float] = {
    "fused_fwd_dv128": 4.0252318e-6, "fused_fwd_dv64": 2.5965634e-6, "fused_fwd_dv32": 2.0754914e-6,
    "prepare_h": 3.2312847e-6, "recompute_h": 5.4131238e-6, "prepare_dh": 3.4920495e-6,
    "fused_bwd": 11.729622e-6,
}  # fmt: skip
"""Seconds per chunk of a sequence that FlashQLA's authors fitted for 132 SMs of sm_90: column ``a``
of flash_qla/ops/gated_delta_rule/chunk/cp/autocp/coefs/sm90.csv of flash-qla 0.1.3."""
FLASHINFER_STATE, FLASHINFER_REST = 8, 4
"""Warps that keep the state, and warps of each other partition, in FlashInfer's kernel."""
SPILLS = 64
"""Bytes of stack per thread up to which a config is kept; FLA's tuning does not choose others."""
LEAST = 30
"""Instructions of a loop over chunks, at least; shorter ones only wait."""


def packed(folder: Path) -> Peers:
    """Read the compiled kernels of a folder; see ``record``."""
    index = json.loads((folder / FLA_INDEX).read_text())
    kernels = [_kernel(place, data, index, folder) for place, data in enumerate(index["kernels"])]
    kernels.append(_flashinfer(folder / FLASHINFER, index["bytes"]))
    chains = [
        PeerChain(
            library="FlashQLA",
            name=name,
            seconds=seconds,
            bodies=_multiplying(bodies_of((folder / f"{name}.cubin").read_bytes())),
        )
        for name, seconds in FLASHQLA.items()
    ]
    versions = json.loads((folder / VERSIONS).read_text())
    return Peers(versions=versions, kernels=tuple(kernels), chains=tuple(chains))


def _kernel(
    place: int, data: Mapping[str, Any], index: Mapping[str, Any], folder: Path
) -> PeerKernel:
    op, name = data["op"], data["kernel"]
    earlier = [kernel for kernel in index["kernels"][:place] if kernel["op"] == op]
    nth = sum(kernel["kernel"] == name for kernel in earlier)
    sizes = {}
    for key, launches in index["bytes"].items():
        own = [size for launched, size in launches if launched == name]
        # with one value head per key head there are fewer sums
        if key.split()[0] == op and nth < len(own):
            sizes[key.split()[1]] = own[nth]
    least = min((config["stack"] for config in data["configs"].values()), default=0)
    configs = tuple(
        _config(name, config_name, config, folder)
        for config_name, config in data["configs"].items()
        if not config["reasons"] and config["blocks"] and config["stack"] <= max(SPILLS, least)
    )
    return PeerKernel(op=op, name=name, walks=_walks(name), bytes=sizes, configs=configs)


def _config(kernel: str, name: str, config: Mapping[str, Any], folder: Path) -> PeerConfig:
    found = bodies_of((folder / config["cubin"]).read_bytes())
    programs = 1.0
    for extent in config["grid"]:
        programs *= extent
    options = dict(part.split("=") for part in name.split())
    return PeerConfig(
        name=name,
        warps=config["warps"],
        resident=config["blocks"],
        programs=programs / config["heads"] / (1 if _walks(kernel) else config["chunks"]),
        passes=_passes(kernel, options, found),
        partitions=(0,) * len(found),
        bodies=found,
    )


def _walks(kernel: str) -> bool:
    return "kernel_h_" in kernel or "kernel_dhu_" in kernel


def _passes(kernel: str, options: Mapping[str, str], found: tuple[Body, ...]) -> tuple[float, ...]:
    """How often each loop of FLA's kernels runs, read from its source; 0 per chunk."""
    passes = []
    longest = max((len(body.steps) for body in found[1:]), default=0)
    for place, body in enumerate(found):
        if place == 0:
            passes.append(1.0)
        elif _walks(kernel):
            passes.append(0.0 if len(body.steps) == longest else 1.0)
        elif "kkt_solve" in kernel:
            # one loop over K with copies, and for each block of 16 rows one that eliminates 14
            copies = any(step.kind == "copies" for step in body.steps)
            passes.append(128 / int(options["BK"]) if copies else 14.0)
        else:
            passes.append(2.0)  # over K or V = 128 by 64
    return tuple(passes)


def _flashinfer(path: Path, sizes: Mapping[str, Any]) -> PeerKernel:
    found = bodies_of(path.read_bytes())
    loops = [i for i, body in enumerate(found) if i and len(body.steps) >= LEAST]
    state = max(loops, key=lambda i: found[i].mix.matrix)
    other = [i for i in loops if i != state]
    multiplies = {i for i in other if found[i].mix.matrix}
    kept = (0, state, *other)
    heads = [key.split()[1].split("/") for key in sizes if key.split()[0] == "forward"]
    config = PeerConfig(
        name="",
        warps=16,
        resident=1,
        programs=1.0,
        # the kernel itself also holds the code for the end of a sequence; it is left out
        passes=(1e-9, *(0.0 for _ in loops)),
        partitions=(
            0,
            FLASHINFER_STATE,
            *(FLASHINFER_REST if i in multiplies else 1 for i in other),
        ),
        bodies=tuple(found[i] for i in kept),
    )
    # q and k of H heads, v and o of HV, of 128 channels and 2 bytes
    moved = {f"{H}/{HV}": 512.0 * (1 + int(H) / int(HV)) for H, HV in heads}
    return PeerKernel(
        op="flashinfer", name="delta_rule_prefill", walks=True, bytes=moved, configs=(config,)
    )


def _multiplying(found: tuple[Body, ...]) -> tuple[Body, ...]:
    return tuple(body for i, body in enumerate(found) if i and body.mix.matrix)
