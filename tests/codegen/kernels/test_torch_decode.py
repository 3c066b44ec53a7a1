"""Stage torch_decode against the recurrence in fp64."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from gdn_ops.codegen.kernels.torch_decode import LARGE, SPEC
from gdn_ops.codegen.targets import target_named
from tests.close import assert_close
from tests.codegen.kernels.split_case import torch_dtype
from tests.codegen.kernels.torch_case import TorchCase

BARS = {"fp32": 1e-5, "fp16": 0.005, "bf16": 0.005}
DECODE = TorchCase(B=3, T=1, op="decode")
GATES = ("none", "model", "strong", "raw")
pytestmark = pytest.mark.filterwarnings("error")


def check(case: TorchCase, folder: Path, reads: int) -> None:
    """Run the stage and compare all it returns; the inputs stay as they are."""
    before = {name: value.clone() for name, value in case.inputs.items()}
    out, expected = case.run(SPEC, folder, reads=reads), case.expected()
    bar = BARS[case.dtype] * max(1.0, (64 / case.K) ** 0.5)
    assert_close("o", expected["o"], out["o"], bar)
    assert out["o"].dtype is torch_dtype(case.dtype) and out["o"].is_contiguous()
    if case.states:
        assert_close("ht", expected["ht"], out["ht"], bar)
        assert out["ht"].data_ptr() != case.inputs["h0"].data_ptr()
    assert all(value.equal(before[name]) for name, value in case.inputs.items())


@pytest.mark.parametrize(
    ("gate", "delta", "vector", "reads"), list(product(GATES, (True, False), (True, False), (1, 2)))
)
def test_every_rule(gate: str, delta: bool, vector: bool, reads: int, tmp_path: Path) -> None:
    if gate == "none" and vector:
        return
    for states, H in ((True, 2), (False, 4)):
        case = replace(DECODE, gate=gate, delta=delta, vector=vector, states=states, H=H)
        if not SPEC.reasons(case.problem, {"reads": reads}, target_named("cpu")):
            check(case, tmp_path, reads)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
@pytest.mark.parametrize("reads", [1, 2])
def test_narrow_types(dtype: str, reads: int, tmp_path: Path) -> None:
    check(replace(DECODE, dtype=dtype, K=64, gate="raw", bias=False), tmp_path, reads)


@pytest.mark.parametrize("reads", [1, 2])
def test_odd_sizes_and_no_sequences(reads: int, tmp_path: Path) -> None:
    check(replace(DECODE, B=1, H=1, HV=3, K=5, V=7), tmp_path, reads)
    out = replace(DECODE, B=0).run(SPEC, tmp_path, reads=reads)
    assert out["o"].shape == (0, 1, 4, 24) and out["ht"].shape == (0, 4, 16, 24)


def test_large_states_are_read_once_by_default() -> None:
    small = replace(DECODE, K=128, V=128).problem
    large = replace(small, sequences=LARGE // (4 * 4 * 128 * 128))
    assert [SPEC.default(p)["reads"] for p in (small, large)] == [2, 1]
    for problem in (small, large, replace(large, initial_state=False)):
        assert SPEC.reasons(problem, SPEC.default(problem), target_named("cpu")) == []
