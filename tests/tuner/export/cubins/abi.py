"""Comparing the loader's launches with those of gdn_ops' own launcher, byte for byte."""

from __future__ import annotations

import ctypes as c
import json
import struct
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.call import Call
from tests.tuner.export.cubins import loader as in_c
from tests.tuner.export.cubins.loader import NAMES, STRIDES, Buffer, Device, Loader
from tests.tuner.export.cubins.recording import Launch, Recording, recorded

WORKSPACE, TABLES = 1 << 40, 1 << 41
"""Where the call's workspace and tables are; the stand-in reads neither."""
STREAM = 0x5EA


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "cubin.manifest.json").read_text())
    return found


def c_call(
    own: dict[str, Any], call: Call, recording: Recording, offsets: Sequence[int] | None
) -> in_c.Call:
    """The call in C, with the addresses of the recorded tensors."""
    made = in_c.Call(B=call.q.shape[0], T=call.q.shape[1], scale=call.scale)
    given = recording.launches[0].arguments if recording.launches else {}
    made.N, made.S = call.q.shape[0], given.get("S", 0)
    if (slots := getattr(call, "slots", None)) is not None:
        made.N = slots.shape[0]
    if own["packed"]:
        assert offsets is not None
        made.N, made.offsets = len(offsets) - 1, (c.c_int32 * len(offsets))(*offsets)
    for name in STRIDES:
        setattr(made, f"stride_{name}", given.get(f"stride_{name}", 0))
    for buffer in own["buffers"]:
        if buffer["role"] in ("input", "inout", "result"):
            tensor = recording.tensors[buffer["name"]]
            bytes_ = extent(tensor) if buffer["strided"] else tensor.nbytes
            made.tensor[NAMES.index(buffer["name"])] = Buffer(tensor.data_ptr(), bytes_)
    return made


def extent(tensor: torch.Tensor) -> int:
    """Bytes from a tensor's first element to the end of its last one."""
    if not tensor.numel():
        return 0
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def assert_same_launches(
    loader: Loader, device: Device, folder: Path, winner: tuple[Problem, Variant], call: Call,
    offsets: Sequence[int] | None = None,
) -> in_c.Call:  # fmt: skip
    """Launch a call both ways, and compare everything that a kernel is given."""
    problem, variant = winner
    manifest, number = manifest_of(folder), loader.find(problem.id())
    own = next(s for s in manifest["sets"] if s["problem"] == problem.id())
    recording = recorded(problem, variant, call)
    made = c_call(own, call, recording, offsets)
    address = {name: x.data_ptr() for name, x in recording.tensors.items()}
    workspace = _placed(own, "workspace", WORKSPACE, recording, address)
    table_bytes = _placed(own, "table", TABLES, recording, address)
    assert_no_overlap(own, recording, address)
    tables = bytearray(table_bytes)
    for buffer in own["buffers"]:
        if buffer["role"] == "table":
            content = recording.tensors[buffer["name"]].numpy().tobytes()
            at = address[buffer["name"]] - TABLES
            tables[at : at + len(content)] = content
    assert loader.workspace(number, made) == workspace
    assert loader.tables(number, made) == tables
    made.workspace = Buffer(WORKSPACE, workspace)
    made.tables = Buffer(TABLES, len(tables))
    device.notes()
    loader.launch(number, made, STREAM)
    notes = device.notes()
    launched = [note for note in notes if note["call"] == "cuLaunchKernel"]
    expected = [launch for launch in recording.launches if 0 not in launch.grid]
    assert [note["function"] for note in launched] == [launch.stage for launch in expected]
    kernels = {s["stage"]: manifest["kernels"][s["kernel"]] for s in own["stages"]}
    for note, launch in zip(launched, expected, strict=True):
        config, kernel = variant.config(launch.stage), kernels[launch.stage]
        assert note["grid"] == [*launch.grid, 1, 1][:3]
        assert note["block"] == [32 * int(config["num_warps"]), 1, 1] == kernel["block"]
        assert (note["shared"], note["stream"], note["extra"]) == (kernel["shared"], STREAM, 0)
        assert note["arguments"] == arguments_of(launch, kernel, address)
    assert_cleared(notes, problem, call, recording, offsets)
    return made


def _placed(
    own: dict[str, Any], role: str, start: int, recording: Recording, address: dict[str, int]
) -> int:
    """Give the buffers of a role their addresses, slot after slot; the bytes of all slots."""
    at = start
    buffers = [buffer for buffer in own["buffers"] if buffer["role"] == role]
    for slot in sorted({buffer["slot"] for buffer in buffers}):
        names = [buffer["name"] for buffer in buffers if buffer["slot"] == slot]
        address.update(dict.fromkeys(names, at))
        at += -(-max(recording.tensors[name].nbytes for name in names) // 256) * 256
    return at - start


def assert_no_overlap(own: dict[str, Any], recording: Recording, address: dict[str, int]) -> None:
    """What gdn_ops' launcher keeps until a stage has run shares no memory in the workspace."""
    shared = {b["name"] for b in own["buffers"] if b["role"] == "workspace"}
    for live in recording.live:
        ranges = sorted(
            (address[name], address[name] + recording.tensors[name].nbytes)
            for name in live & shared
        )
        for (_, end), (start, _) in pairwise(ranges):
            assert end <= start, live


def arguments_of(launch: Launch, kernel: dict[str, Any], address: dict[str, int]) -> list[str]:
    """The bytes of each argument of a recorded launch, then of the two scratch pointers."""
    found = []
    for name, value in launch.arguments.items():
        if isinstance(value, torch.Tensor):
            found.append(struct.pack("<Q", address[name]))
        elif isinstance(value, float):
            found.append(struct.pack("<f", value))
        else:
            wide = name == "stride_pool"
            found.append(struct.pack("<q" if wide else "<i", value))
    assert [p["name"] for p in kernel["parameters"]][:-2] == list(launch.arguments)
    return [x.hex() for x in (*found, bytes(8), bytes(8))]


def assert_cleared(
    notes: list[dict[str, Any]], problem: Problem, call: Call, recording: Recording,
    offsets: Sequence[int] | None,
) -> None:  # fmt: skip
    """Results are zero at the tokens after the last packed sequence, and ``states`` at first."""
    cleared = [(n["at"], n["bytes"]) for n in notes if n["call"] == "cuMemsetD8Async"]
    T, expected = call.q.shape[1], []
    if (states := recording.tensors.get("states")) is not None:
        expected.append((states.data_ptr(), states.nbytes))
    elif offsets is not None and problem.op != "pool" and offsets[-1] < T:
        names = ["o"] if problem.op != "backward" else ["dq", "dk", "dv", "dg", "dbeta"]
        for name in names:
            if (x := recording.tensors.get(name)) is not None:
                rest = x[:, offsets[-1] :]
                expected.append((rest.data_ptr(), rest.nbytes))
    assert sorted(cleared) == sorted(expected)
