"""The environment of a measurement."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.tuner.measure import fingerprint as module
from gdn_ops.tuner.measure.fingerprint import HARNESS_VERSION, Environment, cpu_model, fingerprint
from tests.results import ENVIRONMENT


@pytest.mark.parametrize("name", [field.name for field in fields(Environment)])
def test_every_part_makes_another_environment(name: str) -> None:
    value = getattr(ENVIRONMENT, name)
    change: dict[str, Any] = {name: value + 1 if isinstance(value, int) else "other"}
    other = replace(ENVIRONMENT, **change)
    assert other.hash != ENVIRONMENT.hash
    assert replace(other, **{name: value}).hash == ENVIRONMENT.hash


def test_this_machine_as_a_cpu_target() -> None:
    found = fingerprint("cpu", arch="avx512")
    assert found == fingerprint("cpu", arch="avx512")
    assert found.torch == torch.__version__
    assert found.threads == torch.get_num_threads()
    assert (found.arch, found.driver) == ("avx512", None)
    assert found.harness_version == HARNESS_VERSION
    assert found.device


def test_a_gpu_is_named_by_torch_and_its_driver_by_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU at {device}")
    monkeypatch.setattr(module, "driver_version", lambda: "590.1")
    monkeypatch.setattr(module, "ptxas_version", lambda arch: f"12.9 for {arch}")
    found = fingerprint("cuda:1", arch="sm_90")
    assert (found.device, found.driver) == ("GPU at cuda:1", "590.1")
    assert found.ptxas == "12.9 for sm_90"


def test_an_unknown_ptxas_leaves_the_hash_of_older_environments_as_it_was() -> None:
    assert ENVIRONMENT.ptxas is None
    assert ENVIRONMENT.hash == "f6912c7dc442e5dcc753c6fdfaf91e47"


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor\t: 0\nmodel name\t: AMD  EPYC 9999\n\nmodel name\t: other\n", "AMD EPYC 9999"),
        ("processor\t: 0\nBogoMIPS\t: 50.00\n", None),
        (None, None),
    ],
)
def test_the_cpu_names_itself(tmp_path: Path, text: str | None, model: str | None) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    if text is not None:
        cpuinfo.write_text(text)
    found = cpu_model(cpuinfo)
    assert found
    assert model is None or found == model
