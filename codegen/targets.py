"""Every known target. A GPU is one row.

Rates are dense (no sparsity), with fp32 accumulation for matrix rates, at full board power, from
the makers' data sheets and architecture papers. Limits of an architecture come from the CUDA
programming guide's table of compute capabilities and from LLVM's AMDGPU guide.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from gdn_ops.codegen.errors import UnknownName
from gdn_ops.codegen.target import Target

KIB = 1 << 10
MIB = 1 << 20
GB = 10**9


def _nvidia(shared_sm_kib: int, warps: int, blocks: int) -> dict[str, int]:
    # the driver takes one KiB of the SM's shared memory per resident block
    shared = {"shared_block": (shared_sm_kib - 1) * KIB, "shared_sm": shared_sm_kib * KIB}
    return {**shared, "reserved_block": KIB, "warps_sm": warps, "blocks_sm": blocks}


def _cdna(shared_kib: int) -> dict[str, int]:
    shared = {"shared_block": shared_kib * KIB, "shared_sm": shared_kib * KIB}
    registers = {"registers_sm": 131072, "registers_thread": 512}
    return {**shared, **registers, "warp": 64, "warps_sm": 32, "blocks_sm": 16}


def _rdna() -> dict[str, int]:
    """Limits of a work-group processor (two compute units): the driver counts these."""
    shared = {"shared_block": 64 * KIB, "shared_sm": 128 * KIB}
    registers = {"registers_sm": 196608, "registers_thread": 256}
    return {**shared, **registers, "warps_sm": 64, "blocks_sm": 32}


ARCHS: dict[str, dict[str, int]] = {
    "sm_80": _nvidia(164, 64, 32),
    "sm_86": _nvidia(100, 48, 16),
    "sm_89": _nvidia(100, 48, 24),
    "sm_90": _nvidia(228, 64, 32),
    "sm_100": _nvidia(228, 64, 32),
    "sm_103": _nvidia(228, 64, 32),
    "sm_120": _nvidia(100, 48, 24),
    "sm_121": _nvidia(100, 48, 24),
    "gfx90a": _cdna(64),
    "gfx942": _cdna(64),
    "gfx950": _cdna(160),
    "gfx1100": _rdna(),
    "gfx1201": _rdna(),
}
# the limits of an architecture that is not in the table: those of this member of its family, the
# smallest, so that what is chosen for it can run
_FAMILY = {"sm_": "sm_86", "gfx9": "gfx942", "gfx1": "gfx1100"}


def _row(name: str, device: str, arch: str, **facts: Any) -> Target:
    vendor = "amd" if arch.startswith("gfx") else "nvidia"
    return Target(name=name, device=device, vendor=vendor, arch=arch, **ARCHS[arch], **facts)


def _rates(bandwidth: float, f16: float, tf32: float, fp32: float) -> dict[str, float]:
    """Bandwidth given in GB/s and rates in TFLOP/s, as in data sheets, in bytes/s and FLOP/s."""
    flops = {"flops_16": f16 * 1e12, "flops_tf32": tf32 * 1e12, "flops_fp32": fp32 * 1e12}
    return {"bandwidth": bandwidth * 1e9, **flops}


TARGETS: dict[str, Target] = {
    t.name: t
    for t in (
        Target(name="cpu", vendor="cpu", arch="cpu", device="cpu", sms=1),
        _row("a100", "A100", "sm_80", sms=108, memory=80 * GB, l2=40 * MIB,
             **_rates(2039, 312, 156, 19.5)),
        _row("a100-40gb", "A100 40GB", "sm_80", sms=108, memory=40 * GB, l2=40 * MIB,
             **_rates(1555, 312, 156, 19.5)),
        _row("a10", "A10", "sm_86", sms=72, memory=24 * GB, l2=6 * MIB,
             **_rates(600, 125, 62.5, 31.2)),
        _row("rtx3090", "RTX 3090", "sm_86", sms=82, memory=24 * GB, l2=6 * MIB,
             **_rates(936, 71, 35.6, 35.6)),
        _row("rtx4090", "RTX 4090", "sm_89", sms=128, memory=24 * GB, l2=72 * MIB,
             **_rates(1008, 165.2, 82.6, 82.6)),
        _row("l4", "L4", "sm_89", sms=58, memory=24 * GB, l2=48 * MIB,
             **_rates(300, 121, 60, 30.3)),
        _row("l40s", "L40S", "sm_89", sms=142, memory=48 * GB, l2=96 * MIB,
             **_rates(864, 362, 183, 91.6)),
        _row("h100", "H100", "sm_90", sms=132, memory=80 * GB, l2=50 * MIB,
             **_rates(3350, 989, 494, 67)),
        _row("h100-nvl", "H100 NVL", "sm_90", sms=132, memory=94 * GB, l2=50 * MIB,
             **_rates(3900, 835, 417, 60)),
        _row("h100-pcie", "H100 PCIe", "sm_90", sms=114, memory=80 * GB, l2=50 * MIB,
             **_rates(2000, 756, 378, 51)),
        _row("h20", "H20", "sm_90", sms=78, memory=96 * GB, l2=60 * MIB,
             **_rates(4000, 148, 74, 44)),
        _row("h200", "H200", "sm_90", sms=132, memory=141 * GB, l2=50 * MIB,
             **_rates(4800, 989, 494, 67)),
        _row("gh200", "GH200", "sm_90", sms=132, memory=96 * GB, l2=50 * MIB,
             **_rates(4000, 989, 494, 67)),
        _row("gh200-144gb", "GH200 144G HBM3e", "sm_90", sms=132, memory=144 * GB, l2=50 * MIB,
             **_rates(4900, 989, 494, 67)),
        _row("b200", "B200", "sm_100", sms=148, memory=180 * GB, l2=126 * MIB,
             **_rates(8000, 2250, 1100, 75)),
        _row("gb200", "GB200", "sm_100", sms=152, memory=186 * GB, l2=126 * MIB,
             **_rates(8000, 2500, 1250, 80)),
        _row("b300", "B300", "sm_103", sms=148, **_rates(8000, 2250, 1100, 75)),
        _row("gb300", "GB300", "sm_103", sms=152, **_rates(8000, 2500, 1250, 80)),
        _row("rtx5090", "RTX 5090", "sm_120", sms=170, memory=32 * GB, l2=96 * MIB,
             **_rates(1792, 209.5, 104.8, 104.8)),
        _row("rtxpro6000", "RTX PRO 6000 Blackwell", "sm_120", sms=188, memory=96 * GB,
             l2=128 * MIB, **_rates(1792, 503.8, 251.9, 126)),
        _row("gb10", "GB10", "sm_121", sms=48, memory=128 * GB, l2=24 * MIB,
             **_rates(273, 0, 0, 0)),
        # one of the board's two dies; the driver shows each as a device
        _row("mi250x", "MI250X", "gfx90a", sms=110, memory=64 * GB, l2=8 * MIB,
             **_rates(1638, 191.5, 0, 23.9)),
        _row("mi300x", "MI300X", "gfx942", sms=304, memory=192 * GB, l2=256 * MIB,
             **_rates(5300, 1307.4, 653.7, 163.4)),
        _row("mi325x", "MI325X", "gfx942", sms=304, memory=256 * GB, l2=256 * MIB,
             **_rates(6000, 1307.4, 653.7, 163.4)),
        _row("mi355x", "MI355X", "gfx950", sms=256, memory=288 * GB, l2=256 * MIB,
             **_rates(8000, 2516.6, 0, 157.3)),
    )
}  # fmt: skip

# words in a driver's name for a device that mean another chip, or a slice of the named one
_OTHER_CHIP = {"laptop", "q", "mig", "d", "ti", "super"}
# words that some versions of a driver put before the device's name, and others do not
_MAKERS = {"nvidia", "amd", "instinct", "geforce", "tesla", "quadro", "radeon"}

ALIASES: dict[str, str] = {
    "a800-sxm4-80gb": "a100",
    "a800-80gb-pcie": "a100",
    "a100-80gb-pcie": "a100",
    "a100-pcie-40gb": "a100-40gb",
    "h100-80gb-hbm3": "h100",
    "h800": "h100",
    "h100-80gb-hbm2e": "h100-pcie",
    "h800-pcie": "h100-pcie",
    "gh200-480gb": "gh200",
    "h200-nvl": "h200",
    "mi300x-vf": "mi300x",
    "mi300x-oam": "mi300x",
    "mi325-oam": "mi325x",
    "mi355x-oam": "mi355x",
}
"""Other names of a row's device: in lower case with dashes, without the maker's words. Their chip
and memory are the row's."""

_FAMILIES: tuple[frozenset[str], ...] = (
    frozenset({"sm_86", "sm_89"}),
    frozenset({"sm_90", "sm_90a"}),
    frozenset({"sm_100", "sm_100a", "sm_103", "sm_103a"}),
    frozenset({"sm_120", "sm_120a", "sm_121", "sm_121a"}),
    frozenset({"gfx940", "gfx941", "gfx942", "gfx950"}),
    frozenset({"gfx1100", "gfx1101", "gfx1102"}),
    frozenset({"gfx1200", "gfx1201"}),
    frozenset({"avx512-bf16", "amx-bf16"}),
)
"""Architectures with the same matrix instructions, or nearly: what is fast on one is likely to be
fast on the others."""

CPU_ARCHS = ("avx2", "avx512", "avx512-bf16", "amx-bf16")
"""Vector extensions of CPUs whose winners ship or are often asked for; others are measured, too."""

LEAST_MEMORY, MOST_MEMORY = 0.90, 1.04
"""Bounds of the GiB that a driver reports per GB of a data sheet. The lowest are those of boards
whose ECC takes a sixteenth of the memory, and of memory that is shared with the CPU."""


def target_named(name: str) -> Target:
    """The target of this name: a row, or a kind of CPU such as ``cpu-avx512-bf16``.

    Raises:
        UnknownName: there is none.
    """
    if name in TARGETS:
        return TARGETS[name]
    cpus = {f"cpu-{arch}": arch for arch in CPU_ARCHS}
    if name in cpus:
        return cpu_target(cpus[name])
    raise UnknownName.of("target", name, [*TARGETS, *cpus])


def cpu_target(arch: str, *, threads: int = 1) -> Target:
    """The target of a CPU with a vector extension."""
    return replace(TARGETS["cpu"], name=f"cpu-{arch}", arch=arch, sms=threads)


def target_of_device(
    device_name: str, arch: str, *, sms: int = 0, memory: int = 0
) -> Target | None:
    """The row of a device, by the driver's name for it; of several, the one with the longest name.

    Args:
        device_name: e.g. ``NVIDIA H100 80GB HBM3``.
        arch: e.g. ``sm_90``; a row of another architecture never matches.
        sms: the number of SMs, 0 if unknown. A row with another number is another chip, or the
            chip of which the device is a slice.
        memory: bytes that the driver reports, 0 if unknown. A row with another size is another
            board.

    Returns:
        None if no row matches; ``measured_target`` then makes one.
    """
    words = set(_words(device_name))
    if words & _OTHER_CHIP:
        return None
    rows = [
        row
        for row in TARGETS.values()
        if row.arch == arch and sms in (0, row.sms) and _fits(memory, row.memory)
    ]
    alias = ALIASES.get(_without_maker(device_name))
    matches = [row for row in rows if row.name == alias] or [
        row for row in rows if words.issuperset(_words(row.device))
    ]
    return max(matches, key=lambda row: len(row.device), default=None)


def same_device(name: str, target: Target) -> bool:
    """Whether what is stored under a target's name is of the device that a target describes.

    That is the case if the names mean one device (``ALIASES``), and for a device without a row if
    the named row has its architecture, number of SMs and memory.

    Args:
        name: a target's name, perhaps from before the device had a row or its driver renamed it.
    """
    own = _row_name(name)
    if own == _row_name(target.name):
        return True
    row = TARGETS.get(own)
    if row is None or not row.gpu or target.name in TARGETS:
        return False
    figures = (target.arch, target.sms) == (row.arch, row.sms)
    return figures and bool(target.memory and row.memory) and _fits(target.memory, row.memory)


def kindred(arch: str, other: str) -> bool:
    """Whether two different architectures are so alike that one may use the other's winners."""
    return arch != other and any({arch, other} <= family for family in _FAMILIES)


def measured_target(  # noqa: PLR0913  (what a driver says)
    device_name: str,
    vendor: str,
    arch: str,
    *,
    sms: int,
    shared_block: int = 0,
    shared_sm: int = 0,
    l2: int = 0,
    memory: int = 0,
    bandwidth: float = 0.0,
) -> Target:
    """A target for a device without a row, from what its driver says.

    Its name is the driver's, in lower case with dashes; its peak rates are unknown (0). Limits that
    are not given are those of its architecture, or for an unknown one the smallest of its family.
    """
    family = next((known for start, known in _FAMILY.items() if arch.startswith(start)), "")
    limits: dict[str, Any] = dict(ARCHS.get(arch) or ARCHS.get(family, {}))
    given = {
        "shared_block": shared_block, "shared_sm": shared_sm, "l2": l2, "memory": memory,
        "bandwidth": bandwidth,
    }  # fmt: skip
    limits.update({name: value for name, value in given.items() if value})
    name = "-".join(_words(device_name))
    return Target(name=name, device=device_name, vendor=vendor, arch=arch, sms=sms, **limits)


def _words(device_name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", device_name.lower())


def _without_maker(device_name: str) -> str:
    return "-".join(word for word in _words(device_name) if word not in _MAKERS)


def _row_name(name: str) -> str:
    """The row that a target's name means, or the name without the maker's words."""
    if name in TARGETS:
        return name
    short = _without_maker(name)
    return ALIASES.get(short, short)


def _fits(reported: int, stated: int) -> bool:
    """Whether the bytes that a driver reports can be those of a data sheet; 0 is unknown."""
    gigabytes = stated / GB
    return not (reported and stated) or (
        LEAST_MEMORY <= reported / (1 << 30) / gigabytes <= MOST_MEMORY
    )
