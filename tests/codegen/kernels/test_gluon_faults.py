"""Each fault that is put into a Gluon kernel is found by the interpreter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gdn_ops.codegen.render import render
from gdn_ops.errors import KernelFault
from gdn_ops.gluon_interpreter import scheduled
from tests import stage_runner
from tests.codegen.kernels import (
    gluon_walk,
    hopper_case,
    scan_case,
    segment_case,
    segment_gradient_case,
)
from tests.codegen.kernels.gluon_faults import (
    BACK,
    BLACKWELL,
    BLACKWELL_GRADS,
    BLACKWELL_WALKS,
    FAULTS,
    GRADS,
    MAP,
    OF_GRADS,
    OF_WALKS,
    SCAN,
    SHARED,
    WALKS,
    Fault,
)
from tests.codegen.kernels.hopper_case import CASE
from tests.codegen.kernels.segment_gradient_case import backward_launcher
from tests.gdn_ops.ops.calls import call

KINDS = tuple(dict.fromkeys(fault.kind for fault in FAULTS))
DOCS = Path(__file__).parents[3] / "docs" / "kernels.md"
CASES = {
    SCAN: CASE.with_(T=330, HV=1),
    WALKS: CASE.with_(T=330, HV=1),
    GRADS: CASE.with_(T=64, HV=1),
    BLACKWELL: CASE.with_(T=330, HV=1),
    BLACKWELL_WALKS: CASE.with_(T=330, HV=1),
    BLACKWELL_GRADS: CASE.with_(T=64, HV=1),
}
SEGMENTS = call(B=1, T=257, H=1, HV=1, K=64, V=64, gate="zero", dtype=torch.bfloat16)
"""Two segments; of the first, M and h_local are walked over four chunks."""
GRADIENTS = call(B=1, T=513, H=1, HV=1, K=64, V=64, gate="zero", dtype=torch.bfloat16)
"""Three segments; of the second, dh_local is walked over four chunks."""
STAGES = (SCAN, WALKS, GRADS, BLACKWELL, MAP, BACK, BLACKWELL_WALKS, BLACKWELL_GRADS)
SEEDS = 10
ONLY = {BLACKWELL_WALKS: OF_WALKS, BLACKWELL_GRADS: OF_GRADS}
ONCE = [
    x
    for x in FAULTS
    if (
        x.kind in ONLY[x.stage] if x.stage in ONLY else x.stage != BLACKWELL or x.kind not in SHARED
    )
]
"""Faults in text that two kernels share are put into the one for Hopper only."""


@pytest.fixture(scope="module")
def inputs() -> dict[str, dict[str, Tensor]]:
    walks, grads = (hopper_case.given(CASES[stage]) for stage in (WALKS, GRADS))
    backward = {WALKS: walks, BLACKWELL_WALKS: walks, GRADS: grads, BLACKWELL_GRADS: grads}
    scans = {stage: scan_case.given(CASES[stage]) for stage in (SCAN, BLACKWELL)}
    bound = segment_case.walked(SEGMENTS, until="segment_bound", plan="segmented_sm90")
    given = segment_gradient_case.gradients_given(GRADIENTS)
    gradients = segment_gradient_case.walked(GRADIENTS, given, until="segment_bound")
    return {**scans, **backward, MAP: bound, BACK: gradients}


def run(stage: str, x: dict[str, Tensor], folder: Path, seed: int) -> None:
    if stage in (MAP, BACK):
        arguments = SEGMENTS if stage == MAP else GRADIENTS
        of_stage = segment_case.launcher_of if stage == MAP else backward_launcher
        launcher = of_stage(arguments, plan="segmented_sm90")
        (own,) = (own for own in launcher.stages if own.name == stage)
        sizes = launcher.workspace(segment_case.call_of(arguments)).sizes
        with scheduled(seed):
            stage_runner.run_stage(
                own.spec, own.problem, own.config, given=x, sizes=sizes, folder=folder
            )
    elif stage in (SCAN, BLACKWELL):
        gluon_walk.run(stage, CASES[stage], x, folder, seed)
    else:
        hopper_case.run(stage, CASES[stage], x, folder, seed)


def check(
    fault: Fault, x: dict[str, Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    def rendered(*args: Any, **options: Any) -> str:
        return fault.planted(render(*args, **options))

    monkeypatch.setattr(stage_runner, "render", rendered)
    for seed in range(seeds):
        with pytest.raises(KernelFault, match=fault.message):
            run(fault.stage, x, folder, seed)


@pytest.mark.parametrize("stage", STAGES)
def test_without_a_fault_nothing_is_found(
    stage: str, inputs: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    run(stage, inputs[stage], tmp_path, 0)


@pytest.mark.parametrize("fault", ONCE, ids=lambda fault: f"{fault.stage}: {fault.kind}")
def test_a_fault_is_found(
    fault: Fault,
    inputs: dict[str, dict[str, Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check(fault, inputs[fault.stage], tmp_path, monkeypatch, seeds=1)


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.stage}: {fault.kind}")
def test_a_fault_is_found_in_ten_orders(
    fault: Fault,
    inputs: dict[str, dict[str, Tensor]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check(fault, inputs[fault.stage], tmp_path, monkeypatch, SEEDS)


def test_the_docs_have_a_row_per_kind_with_the_number_of_faults_per_kernel() -> None:
    text = DOCS.read_text()
    for kind in KINDS:
        of_kind = [fault.stage for fault in FAULTS if fault.kind == kind]
        counts = " | ".join(str(of_kind.count(stage) or "-") for stage in STAGES)
        assert f"| {kind} | {counts} |" in text, f"| {kind} | {counts} |"
