"""The versions of driver and compilers."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdn_ops import toolchain


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15\n", "535.104.05"),
        ("NVIDIA UNIX Open Kernel Module for x86_64  590.44.01  Release\n", "590.44.01"),
        ("nothing that is known", None),
        (None, None),
    ],
)  # fmt: skip
def test_the_driver_is_known_by_its_kernel_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, version: str | None
) -> None:
    module = tmp_path / "version"
    if text is not None:
        module.write_text(text)
    monkeypatch.setattr(toolchain, "NVIDIA_MODULE", module)
    monkeypatch.setattr(toolchain, "AMD_MODULE", tmp_path / "none")
    monkeypatch.setattr(toolchain, "_nvml_version", lambda: None)
    assert toolchain.driver_version.__wrapped__() == version


def test_an_amd_driver_is_known_by_its_kernel_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "amdgpu").write_text("6.12.12\n")
    monkeypatch.setattr(toolchain, "NVIDIA_MODULE", tmp_path / "none")
    monkeypatch.setattr(toolchain, "AMD_MODULE", tmp_path / "amdgpu")
    monkeypatch.setattr(toolchain, "_nvml_version", lambda: None)
    assert toolchain.driver_version.__wrapped__() == "6.12.12"


def test_only_nvidias_architectures_have_a_ptxas() -> None:
    found = toolchain.ptxas_version("sm_90")
    assert found is not None and found == toolchain.ptxas_version("sm_90a")
    for arch in ("gfx942", "avx512", "sm_none"):
        assert toolchain.ptxas_version(arch) is None
