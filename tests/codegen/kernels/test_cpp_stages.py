"""Stages cpp_chunk and cpp_backward against the recurrence in fp64 and its gradients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels import cpp_backward, cpp_chunk
from gdn_ops.cpu_info import CpuInfo
from gdn_ops.launch.cpp import why_no_cpp
from tests.codegen.kernels.test_torch_backward import check as check_gradients
from tests.codegen.kernels.test_torch_templates import check
from tests.codegen.kernels.torch_case import TorchCase

pytestmark = [
    pytest.mark.filterwarnings("error"),
    pytest.mark.skipif(bool(why_no_cpp()), reason=why_no_cpp() or "C++ compiles here"),
]
PLAIN = TorchCase(V=32)
PACKED = replace(PLAIN, B=1, gate="raw", offsets=(0, 0, 15, 16, 16, 50, 70))
GATES = ("open", "strong", "resets", "model")
UNGATED = replace(PLAIN, V=48, T=130, H=1, gate="none", states=False)
NATIVE: dict[str, Any] = {"K": 64, "dtype": "bf16"}


def check_both(case: TorchCase, folder: Path, **axes: Value) -> None:
    """Check the forward and the gradients of a call."""
    check(cpp_chunk.SPEC, case, folder, **axes)
    axes.pop("HEADS", None)
    check_gradients(replace(case, op="backward"), folder, cpp_backward.SPEC, **axes)


def test_every_gate_and_length(tmp_path: Path) -> None:
    # one source each: the shape of the code does not depend on these
    for gate in GATES:
        check_both(replace(PLAIN, gate=gate), tmp_path)
    for T in (1, 64):
        check_both(replace(PLAIN, T=T), tmp_path)
    check(cpp_chunk.SPEC, replace(PLAIN, T=0), tmp_path)


@pytest.mark.skipif(
    "avx512_bf16" not in CpuInfo.read().flags, reason="the CPU does not multiply bf16"
)
def test_native_products_of_packed_sequences(tmp_path: Path) -> None:
    check_both(replace(PACKED, **NATIVE), tmp_path, BT=16, dot="native")


@pytest.mark.exhaustive
@pytest.mark.parametrize("BT", cpp_chunk.BT.values)
@pytest.mark.parametrize("tile", cpp_chunk.TILE.values)
def test_every_tile(BT: int, tile: str, tmp_path: Path) -> None:
    check_both(UNGATED, tmp_path, BT=BT, tile=tile, HEADS=4)
    check_both(PACKED, tmp_path, BT=BT, tile=tile)
    check(cpp_chunk.SPEC, replace(PLAIN, dtype="fp16", K=64), tmp_path, BT=BT, tile=tile)
    check_both(replace(PLAIN, V=80, T=150), tmp_path, BT=BT, tile=tile)
    if "avx512_bf16" in CpuInfo.read().flags:
        check_both(replace(PACKED, **NATIVE), tmp_path, BT=BT, tile=tile, dot="native")
        check_both(replace(UNGATED, **NATIVE), tmp_path, BT=BT, tile=tile, dot="native")
