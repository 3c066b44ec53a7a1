"""The record of the engines' signatures, the entry points, and the names of GPUs."""

from __future__ import annotations

import importlib.machinery
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gdn_ops.integrations import engine, sglang, vllm
from gdn_ops.integrations.engine_signatures import (
    GDN_TRITON,
    OLMO,
    QWEN,
    RECORDED,
    difference,
    recorded,
)

ROOT = Path(__file__).parents[3]
OURS: dict[str, Callable[..., Any]] = {
    f"{QWEN}.ChunkGatedDeltaRule.forward_native": vllm._prefill,
    f"{QWEN}.fused_recurrent_gated_delta_rule_packed_decode": vllm._packed_decode,
    f"{QWEN}.fused_sigmoid_gating_delta_rule_update": vllm._sigmoid_gating,
    f"{OLMO}.chunk_gated_delta_rule": vllm._chunk,
    f"{OLMO}.fused_recurrent_gated_delta_rule": vllm._recurrent,
    **{f"{GDN_TRITON}.TritonGDNKernel.{name}": f for name, f in sglang._METHODS.items()},
}


@pytest.mark.parametrize("name", OURS)
def test_ours_takes_the_arguments_that_are_recorded(name: str) -> None:
    text = recorded(name)[-1].parameters.replace("(self, ", "(")
    namespace: dict[str, Any] = {}
    exec(f"def theirs{text}: ...", namespace)
    theirs = inspect.signature(namespace["theirs"]).parameters.values()
    ours = inspect.signature(OURS[name]).parameters.values()
    named = [p for p in theirs if p.kind is not p.VAR_KEYWORD]
    assert [(p.name, p.kind, p.default) for p in ours if p.kind is not p.VAR_KEYWORD] == [
        (p.name, p.kind, p.default) for p in named
    ]
    assert any(p.kind is p.VAR_KEYWORD for p in ours) == (len(named) < len(theirs))


def test_each_recorded_name_is_used_and_each_of_ours_is_recorded() -> None:
    names = {x.name for x in RECORDED}
    assert set(OURS) <= names
    assert {name.split(".")[0] for name in names} == {x.engine for x in RECORDED}
    assert len({(x.name, x.parameters) for x in RECORDED}) == len(RECORDED)


def test_annotations_do_not_matter_and_what_has_no_signature_is_not_known() -> None:
    name = f"{QWEN}.ChunkGatedDeltaRule.__init__"

    def theirs(self: object) -> None: ...

    assert difference(theirs, name) == ""
    theirs.__signature__ = "none"  # type: ignore[attr-defined]
    assert "cannot be read" in difference(theirs, name)


def test_the_entry_points_are_the_plug_ins() -> None:
    tomllib = pytest.importorskip("tomllib")
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for group, plugin in (("vllm.general_plugins", vllm), ("sglang.srt.plugins", sglang)):
        module, _, function = groups[group]["gdn_ops"].partition(":")
        assert getattr(importlib.import_module(module), function) is plugin.plug_in
        assert not inspect.signature(plugin.plug_in).parameters


@pytest.mark.parametrize("plugin", [vllm, sglang])
def test_without_the_engine_nothing_is_raised(
    plugin: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(plugin.VARIABLE, "1")
    plugin.plug_in()
    plugin.take_back()
    assert len(caplog.records) == 1 and "not installed" in caplog.messages[0]


class FakeNvml(ModuleType):
    """pynvml with two GPUs; one release returns names as bytes."""

    names = ("NVIDIA H200", b"NVIDIA B200")
    open = 0

    class NVMLError(Exception): ...

    def __init__(self, fault: bool) -> None:
        super().__init__("pynvml")
        self.__spec__ = importlib.machinery.ModuleSpec("pynvml", None)
        self.fault = fault

    def nvmlInit(self) -> None:
        if self.fault:
            raise self.NVMLError
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:
        return self.names[handle]


def test_the_names_of_gpus_come_from_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(fault=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert engine.gpu_names() == {"NVIDIA H200", "NVIDIA B200"}
    assert nvml.open == 0
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fault=True))
    assert engine.gpu_names() == frozenset()
