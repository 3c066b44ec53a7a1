"""Targets: every row is whole, and a device finds its row and no other chip's."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from gdn_ops.codegen.errors import UnknownName
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import (
    ALIASES,
    GB,
    TARGETS,
    kindred,
    measured_target,
    same_device,
    target_named,
    target_of_device,
)

GPUS = [target for target in TARGETS.values() if target.gpu]
gpus = pytest.mark.parametrize("target", GPUS, ids=lambda target: target.name)


@gpus
def test_a_row_has_what_a_launch_depends_on(target: Target) -> None:
    assert target.name == target.name.lower()
    assert target.arch.startswith({"nvidia": "sm_", "amd": "gfx"}[target.vendor])
    assert target.warp == (64 if target.arch.startswith("gfx9") else 32)
    assert 0 < target.shared_block <= target.shared_sm
    assert target.shared_block + target.reserved_block <= target.shared_sm
    assert target.registers_sm >= 1024 * 32
    assert target.registers_thread in (255, 256, 512)
    assert target.warps_sm * target.warp >= 1024
    assert target.sms > 1
    # in bytes and FLOP/s: a row in GB/s or TFLOP/s is far outside
    assert 1e10 < target.bandwidth < 1e14
    assert target.memory == 0 or 1e10 < target.memory < 1e12


@gpus
def test_a_row_is_found_by_its_drivers_name(target: Target) -> None:
    maker = "NVIDIA" if target.vendor == "nvidia" else "AMD Instinct"
    assert target_of_device(f"{maker} {target.device}", target.arch, sms=target.sms) == target


@gpus
def test_rates_are_rates(target: Target) -> None:
    assert target.flops_16 == 0 or 1e12 < target.flops_16 < 1e17
    assert target.flops_tf32 <= target.flops_16
    assert target.flops_fp32 == 0 or 1e12 < target.flops_fp32 < 1e15


@gpus
def test_a_row_survives_the_way_to_a_worker(target: Target) -> None:
    assert Target(**json.loads(json.dumps(asdict(target)))) == target


def test_devices_are_distinct() -> None:
    assert len({target.device for target in TARGETS.values()}) == len(TARGETS)


@pytest.mark.parametrize(
    ("arch", "shared"),
    [
        ("sm_80", 166912),
        ("sm_86", 101376),
        ("sm_90", 232448),
        ("sm_100", 232448),
        ("sm_120", 101376),
        ("gfx942", 65536),
        ("gfx950", 163840),
    ],
)
def test_shared_memory_limits(arch: str, shared: int) -> None:
    assert {target.shared_block for target in GPUS if target.arch == arch} == {shared}


@pytest.mark.parametrize(
    ("device", "arch", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "sm_90", "h100"),
        ("NVIDIA H100 PCIe", "sm_90", "h100-pcie"),
        ("NVIDIA H100 NVL", "sm_90", "h100-nvl"),
        ("NVIDIA H200", "sm_90", "h200"),
        ("NVIDIA GH200 480GB", "sm_90", "gh200"),
        ("NVIDIA GH200 144G HBM3e", "sm_90", "gh200-144gb"),
        ("NVIDIA A100-SXM4-80GB", "sm_80", "a100"),
        ("NVIDIA A100-SXM4-40GB", "sm_80", "a100-40gb"),
        ("NVIDIA A10", "sm_86", "a10"),
        ("NVIDIA L4", "sm_89", "l4"),
        ("NVIDIA L40S", "sm_89", "l40s"),
        ("NVIDIA B200", "sm_100", "b200"),
        ("NVIDIA GB200", "sm_100", "gb200"),
        ("NVIDIA GB300", "sm_103", "gb300"),
        ("NVIDIA GeForce RTX 4090", "sm_89", "rtx4090"),
        ("NVIDIA GeForce RTX 5090", "sm_120", "rtx5090"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "sm_120", "rtxpro6000"),
        ("AMD Instinct MI300X", "gfx942", "mi300x"),
    ],
)
def test_drivers_names(device: str, arch: str, name: str) -> None:
    found = target_of_device(device, arch)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("device", "arch", "sms"),
    [
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "sm_89", 0),
        ("NVIDIA GeForce RTX 4090 D", "sm_89", 0),
        ("NVIDIA GeForce RTX 3090 Ti", "sm_86", 0),
        ("NVIDIA A10G", "sm_86", 0),
        ("NVIDIA L40", "sm_89", 0),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "sm_90", 0),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "sm_120", 0),
        ("NVIDIA H100 80GB HBM3", "sm_90", 60),
        ("NVIDIA H200", "sm_80", 0),
        ("Tesla T4", "sm_75", 0),
    ],
)
def test_another_chip_has_no_row(device: str, arch: str, sms: int) -> None:
    assert target_of_device(device, arch, sms=sms) is None


def test_an_unknown_name_says_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown target 'h2000'; did you mean 'h200'\?"):
        target_named("h2000")


def test_a_measured_target_takes_its_architectures_limits() -> None:
    target = measured_target("NVIDIA A10G", "nvidia", "sm_86", sms=80, l2=6 << 20, bandwidth=6e11)
    a10 = target_named("a10")
    assert (target.name, target.sms, target.l2) == ("nvidia-a10g", 80, 6 << 20)
    assert (target.shared_block, target.warps_sm, target.blocks_sm) == (101376, 48, 16)
    assert target.reserved_block == a10.reserved_block
    assert target.flops_16 == 0


def test_what_a_driver_says_wins() -> None:
    target = measured_target(
        "Thor", "nvidia", "sm_110", sms=20, shared_block=232448, shared_sm=233472
    )
    assert (target.shared_block, target.shared_sm, target.capability) == (232448, 233472, 110)


@pytest.mark.parametrize(
    ("vendor", "arch", "warp"),
    [("nvidia", "sm_130", 32), ("amd", "gfx960", 64), ("amd", "gfx1250", 32)],
)
def test_a_new_architecture_gets_its_familys_smallest_limits(
    vendor: str, arch: str, warp: int
) -> None:
    target = measured_target("New", vendor, arch, sms=10)
    assert target.warp == warp
    assert 0 < target.shared_block <= 101376
    assert target.shared_block + target.reserved_block <= target.shared_sm


def test_a_measured_cpu_has_no_gpus_limits() -> None:
    target = measured_target("AMD EPYC 7763 64-Core", "cpu", "avx2", sms=64)
    assert (target.name, target.gpu, target.capability) == ("amd-epyc-7763-64-core", False, 0)
    assert target.shared_block == 0


@pytest.mark.parametrize(
    ("device", "arch", "sms", "mib", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "sm_90", 132, 81559, "h100"),
        ("NVIDIA H100 80GB HBM2e", "sm_90", 114, 81559, "h100-pcie"),
        ("NVIDIA H800", "sm_90", 132, 81559, "h100"),
        ("NVIDIA GH200 480GB", "sm_90", 132, 97871, "gh200"),
        ("A100-PCIE-40GB", "sm_80", 108, 40536, "a100-40gb"),
        ("NVIDIA A100 80GB PCIe", "sm_80", 108, 81920, "a100"),
        ("NVIDIA H200", "sm_90", 132, 143771, "h200"),
        ("NVIDIA L40S", "sm_89", 142, 46068, "l40s"),
        ("AMD Instinct MI300X OAM", "gfx942", 304, 196592, "mi300x"),
        ("NVIDIA GB10", "sm_121", 48, 122570, "gb10"),
        ("NVIDIA A10-8Q", "sm_86", 72, 8192, None),
        ("NVIDIA H100 96GB HBM3", "sm_90", 132, 97871, None),
    ],
)
def test_a_device_is_known_by_name_sms_and_memory(
    device: str, arch: str, sms: int, mib: int, name: str | None
) -> None:
    found = target_of_device(device, arch, sms=sms, memory=mib << 20)
    assert (found.name if found else None) == name


def test_every_alias_is_of_a_row() -> None:
    for alias, name in ALIASES.items():
        assert alias not in TARGETS
        row = target_named(name)
        assert target_of_device(alias, row.arch, sms=row.sms) == row


def test_winners_of_a_device_without_a_row_are_found_by_its_figures() -> None:
    chip = {"sms": 142, "memory": 46068 << 20}
    board = measured_target("NVIDIA PG133", "nvidia", "sm_89", **chip)  # type: ignore[arg-type]
    assert same_device("l40s", board) and same_device("pg133", board)
    assert not same_device("rtx4090", board)
    smaller = measured_target("NVIDIA PG133", "nvidia", "sm_89", sms=142, memory=24 * GB)
    assert not same_device("l40s", smaller)
    assert same_device("nvidia-h100-80gb-hbm3", target_named("h100"))
    assert not same_device("h200", target_named("gh200-144gb")), "each has its row"
    assert not same_device("no such device", target_named("h100"))


def test_kindred_architectures() -> None:
    for arch, other in (("sm_90a", "sm_90"), ("sm_121", "sm_120"), ("amx-bf16", "avx512-bf16")):
        assert kindred(arch, other) and kindred(other, arch)
    for arch, other in (("sm_90", "sm_90"), ("sm_90", "sm_100"), ("avx512", "avx512-bf16")):
        assert not kindred(arch, other)


def test_a_kind_of_cpu_has_a_name() -> None:
    target = target_named("cpu-avx512-bf16")
    assert (target.name, target.arch, target.gpu) == ("cpu-avx512-bf16", "avx512-bf16", False)
    for name in ("cpu-", "cpu-sm_90", "avx2"):
        with pytest.raises(UnknownName, match="cpu-amx-bf16"):
            target_named(name)
