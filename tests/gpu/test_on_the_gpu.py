"""What only a GPU can show: every plan right, the same every time, and safe inside a CUDA graph."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.interpreting import interpreting
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.device import target_of
from gdn_ops.verify import gate_cases
from gdn_ops.verify.accuracy_gate import verify
from tests.close import assert_close
from tests.gdn_ops.ops.calls import call, expected

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or interpreting(), reason="needs a GPU and TRITON_INTERPRET=0"
)

SMALL = os.environ.get("GDN_GPU_TESTS") == "small"
"""Sizes and repeats for a GPU that is played, see ``tests.stand_in``."""
DIMS: dict[str, Any] = (
    {"H": 1, "HV": 2, "K": 32, "V": 32} if SMALL else {"H": 4, "HV": 8, "K": 128, "V": 128}
)
REPEATS = 2 if SMALL else 30
USUAL = Problem(op="forward", **DIMS, dtype="bf16", tokens=4096, sequences=2, final_state=True)
PROBLEMS = {
    "bf16": USUAL,
    "fp32": replace(USUAL, dtype="fp32"),
    "packed, raw gate": replace(
        USUAL, varlen=True, initial_state=True, gate_in_kernel=True, dt_bias=True
    ),
    "no gate": replace(USUAL, rule=Rule("none", True)),
    "odd head dims": replace(USUAL, K=60, V=100, dtype="fp16"),
    "wide heads": replace(USUAL, K=256, V=256),
    "heads of 64": replace(USUAL, K=64, V=64),
    "heads of 64, packed": replace(USUAL, K=64, V=64, varlen=True, initial_state=True),
    "decode": replace(USUAL, op="decode", tokens=8, sequences=8, initial_state=True),
    "backward": USUAL.backward(final_state=True),
    "heads of 64, backward": replace(USUAL.backward(final_state=True), K=64, V=64),
    "heads of 64, backward packed": replace(
        USUAL.backward(final_state=True),
        K=64,
        V=64,
        varlen=True,
        initial_state=True,
        gate_in_kernel=True,
        dt_bias=True,
    ),
    "backward packed": replace(
        USUAL, op="backward", varlen=True, initial_state=True, gate_in_kernel=True, dt_bias=True
    ),
    "backward without gate": replace(USUAL, op="backward", rule=Rule("none", True)),
    "backward fp32": replace(USUAL, op="backward", dtype="fp32"),
}
if SMALL:  # the others differ in what the kernels compute, which is tested elsewhere
    kept = ("bf16", "packed, raw gate", "decode", "backward")
    kept += ("heads of 64, packed", "heads of 64, backward packed")
    PROBLEMS = {name: PROBLEMS[name] for name in kept}
KERNEL_PLANS = tuple(
    sorted((name for name in PLANS if name != "torch"), key=lambda name: PLANS[name].verified)
)
"""First those that no GPU has run yet."""
ON_SEGMENTS = {"segmented": 80 if SMALL else 1100, "segmented_sm90": 300 if SMALL else 1100}
"""Plans on segments, and tokens of more than a segment."""


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, tokens in (("MEDIUM", 20), ("SEVERAL", 37), ("LONG", 70)):
        monkeypatch.setattr(gate_cases, name, tokens if SMALL else getattr(gate_cases, name))
    gdn_ops.refresh()
    yield
    gdn_ops.refresh()


def variant_of(plan: str, problem: Problem) -> Variant:
    """The plan's default; of a played GPU with short chunks, and few of them in a segment."""
    short = {"BT": 16, "SEG": 4} if SMALL else {}
    axes = {axis.name: axis.values for axis in PLANS[plan].axes}
    return Variant.of(plan, problem, {n: x for n, x in short.items() if x in axes.get(n, ())})


def runs(plan: str, problem: Problem) -> bool:
    target = target_of(torch.device("cuda", torch.cuda.current_device()))
    return not variant_of(plan, problem).reasons(problem, target)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("plan", KERNEL_PLANS)
def test_the_gate_passes_and_thirty_runs_agree(plan: str, name: str) -> None:
    problem = PROBLEMS[name]
    if not runs(plan, problem):
        pytest.skip(f"plan {plan} does not compute {problem.op} here")
    if SMALL and name.startswith("heads") and "_sm" not in plan:
        pytest.skip("the same code as with other heads")
    if SMALL and plan in (*ON_SEGMENTS, "recurrent") and name not in ("bf16", "decode"):
        pytest.skip(f"plan {plan} takes too long in the interpreter")
    verdict = verify(problem, variant_of(plan, problem), device="cuda", repeats=REPEATS)
    assert verdict.status == "ok", verdict.message


def on_gpu(arguments: dict[str, Any]) -> dict[str, Any]:
    return {n: x.cuda() if isinstance(x, torch.Tensor) else x for n, x in arguments.items()}


@pytest.mark.parametrize("plan", KERNEL_PLANS)
@pytest.mark.parametrize("case", [{"T": 37}, {"B": 1, "T": 80, "offsets": [0, 5, 5, 70, 80]}])
def test_a_captured_call_replays(plan: str, case: dict[str, Any]) -> None:
    if plan in ON_SEGMENTS:  # which want sequences longer than a segment
        case = {**case, "T": case["T"] + ON_SEGMENTS[plan]}
    if plan in ON_SEGMENTS and "offsets" in case:
        case = {**case, "offsets": [*case["offsets"], case["T"]]}
    dims, dtype, bar = {"K": 16, "V": 32}, "fp32", 1e-4
    if "_sm" in plan:
        dims, dtype, bar = {"K": 64, "V": 64}, "bf16", 5e-3
    arguments = call(**case, **dims, dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[dtype])
    problem = Problem(
        op="forward", H=2, HV=4, **dims, dtype=dtype, tokens=2 * case["T"], sequences=2,
        varlen="offsets" in case, initial_state=True, final_state=True,
    )  # fmt: skip
    if not runs(plan, problem):
        pytest.skip(f"plan {plan} does not run here")
    o_ref, ht_ref = expected(arguments)
    given = on_gpu(arguments)
    with gdn_ops.using(variant_of(plan, problem)), torch.no_grad():
        gdn_ops.chunk_gated_delta_rule(**given)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            o, ht = gdn_ops.chunk_gated_delta_rule(**given)
    o.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert ht is not None
    assert_close("o", o_ref, o.cpu(), bar)
    assert_close("final state", ht_ref, ht.cpu(), bar)


def test_a_first_call_inside_a_capture_is_refused() -> None:
    given = on_gpu(call(T=23))
    with (
        gdn_ops.using("split"),
        torch.no_grad(),
        pytest.raises(gdn_ops.errors.LaunchError, match="capture"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        gdn_ops.chunk_gated_delta_rule(**given)


@pytest.mark.parametrize("plan", ["fused_sm90", "fused_sm100", "split"])
def test_gradients_of_a_call(plan: str) -> None:
    arguments = call(B=1, T=70, H=1, HV=2) if SMALL else call(T=150, K=64, V=64)
    bar = 1e-3
    if "_sm" in plan:
        arguments, bar = call(B=1, T=70, H=1, HV=2, K=64, V=64, dtype=torch.bfloat16), 2e-2
        problem = Problem(
            op="backward", H=1, HV=2, K=64, V=64, dtype="bf16", tokens=70, sequences=1
        )
        if not runs(plan, problem):
            pytest.skip(f"plan {plan} does not run here")
    wide = {n: arguments[n].double().requires_grad_() for n in ("q", "k", "v", "g", "beta")}
    o_ref, _ = gdn_ops.reference.recurrent_reference(**wide)
    given = on_gpu(arguments) | {"initial_state": None}
    leaves = {n: given[n].requires_grad_() for n in wide}
    with gdn_ops.using(plan):
        o, _ = gdn_ops.chunk_gated_delta_rule(**given)
    do = torch.randn_like(o_ref, dtype=torch.float32)
    o.backward(do.cuda())
    o_ref.backward(do.double())
    for name, leaf in leaves.items():
        ref, got = wide[name].grad, leaf.grad
        assert ref is not None and got is not None
        assert_close(f"d{name}", ref, got.cpu(), bar)


def test_a_sequence_has_the_same_bits_alone_and_in_a_batch() -> None:
    sizes: dict[str, Any] = {"T": 70, "H": 1, "HV": 2} if SMALL else {"T": 200, "K": 64, "V": 64}
    arguments = on_gpu(call(B=3, **sizes, dtype=torch.bfloat16, state=False))
    names = ("q", "k", "v", "g", "beta")
    with gdn_ops.using("split"), gdn_ops.batch_invariant(), torch.no_grad():
        batch, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
        alone, _ = gdn_ops.chunk_gated_delta_rule(
            **(arguments | {n: arguments[n][1:2].contiguous() for n in names})
        )
    assert torch.equal(batch[1], alone[0])
