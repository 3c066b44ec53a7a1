"""Cases of the forward walks in Gluon, and running one of them in the interpreter of Gluon."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gdn_ops
from gdn_ops.codegen import gluon
from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.gluon_interpreter import scheduled
from tests.close import assert_close
from tests.codegen.kernels.scan_case import given, run_walk
from tests.codegen.kernels.split_case import SplitCase
from tests.gdn_ops.ops.calls import call, expected

CASE = SplitCase(B=1, T=150, H=1, HV=2, K=64, V=64, BT=64, dtype="bf16")
CASES: dict[str, tuple[SplitCase, dict[str, Value]]] = {
    "several rows, each with a ragged end": (CASE.with_(B=2, T=70), {}),
    "packed sequences, of which some are empty or short": (
        CASE.with_(T=290, offsets=(0, 64, 64, 75, 280)),
        {},
    ),
    "heads of 128": (CASE.with_(K=128, V=128), {}),
    "three value heads per key head": (CASE.with_(H=2, HV=6, T=64), {}),
    "no gate": (CASE.with_(gate="none"), {}),
    "no decay": (CASE.with_(gate="zero"), {"gate_free": True}),
    "strong decay": (CASE.with_(gate="strong"), {"gate_free": True}),
    "decay that leaves nothing": (CASE.with_(gate="wild", T=130), {}),
    "no states, fp16": (CASE.with_(initial_state=False, final_state=False, dtype="fp16"), {}),
    "more chunks than slots": (CASE.with_(T=400), {"slots": 2}),
}
SAMPLE = tuple(CASES)[:6]
PROBLEM = Problem(
    op="forward", H=2, HV=4, K=128, V=128, dtype="bf16", tokens=256, sequences=1, final_state=True
)
SEEDS = 20
"""Orders of the partitions in which a case is run where there is time."""


def run(
    stage: str,
    case: SplitCase,
    x: dict[str, torch.Tensor],
    folder: Path,
    seed: int = 0,
    **axes: Value,
) -> dict[str, torch.Tensor]:
    """What a stage writes; ``seed`` decides the order of its partitions."""
    spec = KERNELS[stage]
    config = {**defaults(PLANS["fused_sm90"].axes), **spec.default(case.problem), **axes}
    with scheduled(seed):
        return run_walk(spec, case, x, config, folder)


def check(stage: str, case: SplitCase, axes: dict[str, Value], folder: Path, *, seeds: int) -> None:
    """Compare with fp64, and the bits of each order of the partitions with those of the first."""
    x = given(case, gate_free=bool(axes.get("gate_free")))
    out = run(stage, case, x, folder, **axes)
    assert_close("o", x["o"][:, : case.covered], out["o"][:, : case.covered], 5e-3)
    assert out["o"][:, case.covered :].isnan().all()
    if case.final_state:
        assert_close("ht", x["ht"], out["ht"], 5e-3)
    for seed in range(1, seeds):
        again = run(stage, case, x, folder, seed, **axes)
        for output, value in out.items():
            assert torch.equal(value.nan_to_num(), again[output].nan_to_num()), (output, seed)


def check_that_the_next_sequence_stays_out(stage: str, folder: Path) -> None:
    """Compare a sequence before finite tokens with itself before tokens that are infinite."""
    case = CASE.with_(T=200, offsets=(0, 70, 200))
    x = given(case)
    alone = run(stage, case, x, folder)
    for name in ("q", "k", "v", "beta", "gc", "A"):
        x[name][:, 70:] = float("inf")
    beside = run(stage, case, x, folder)
    assert torch.equal(alone["o"][:, :70], beside["o"][:, :70])
    assert torch.equal(alone["ht"][0], beside["ht"][0])


def check_a_call(plan: str) -> None:
    """Compare a call that asks for a plan with the recurrence in fp64."""
    arguments = call(B=1, T=70, H=1, HV=2, K=64, V=64, dtype=torch.bfloat16)
    arguments["beta"] = arguments["beta"].bfloat16()
    o_ref, ht_ref = expected(arguments)
    with gdn_ops.using(plan), torch.no_grad():
        o, ht = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert ht is not None
    assert_close("o", o_ref, o, 5e-3)
    assert_close("final state", ht_ref, ht, 5e-3)


def check_a_triton_without_gluon(
    plan: str, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan of Gluon kernels is refused with the reason that Triton gives."""
    variant = Variant.default(plan, PROBLEM)
    assert variant.reasons(PROBLEM, target) == []
    monkeypatch.setattr(gluon, "missing_in_triton", lambda: "Triton 3.5.0 has no Gluon")
    assert variant.reasons(PROBLEM, target) == [
        f"{plan} is a Gluon kernel, and Triton 3.5.0 has no Gluon"
    ]
