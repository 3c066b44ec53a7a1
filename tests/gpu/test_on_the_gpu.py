"""What only a GPU can show: every plan right, the same every time, and safe inside a CUDA graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.interpreter import interpreting
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.device import target_of
from gdn_ops.tuner.verify import verify
from tests.close import assert_close
from tests.gdn_ops.calls import call, expected

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or interpreting(), reason="needs a GPU and TRITON_INTERPRET=0"
)

USUAL = Problem(
    op="forward", H=4, HV=8, K=128, V=128, dtype="bf16", tokens=4096, sequences=2, final_state=True
)
PROBLEMS = {
    "bf16": USUAL,
    "fp32": replace(USUAL, dtype="fp32"),
    "packed, raw gate": replace(
        USUAL, varlen=True, initial_state=True, gate_in_kernel=True, dt_bias=True
    ),
    "no gate": replace(USUAL, rule=Rule("none", True)),
    "odd head dims": replace(USUAL, K=60, V=100, dtype="fp16"),
    "wide heads": replace(USUAL, K=256, V=256),
    "decode": replace(USUAL, op="decode", tokens=8, sequences=8, initial_state=True),
    "backward": USUAL.backward(final_state=True),
    "backward packed": replace(
        USUAL, op="backward", varlen=True, initial_state=True, gate_in_kernel=True, dt_bias=True
    ),
    "backward without gate": replace(USUAL, op="backward", rule=Rule("none", True)),
    "backward fp32": replace(USUAL, op="backward", dtype="fp32"),
}
KERNEL_PLANS = tuple(name for name in PLANS if name != "torch")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    gdn_ops.refresh()
    yield
    gdn_ops.refresh()


def runs(plan: str, problem: Problem) -> bool:
    target = target_of(torch.device("cuda", torch.cuda.current_device()))
    return not Variant.default(plan, problem).reasons(problem, target)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("plan", KERNEL_PLANS)
def test_the_gate_passes_and_thirty_runs_agree(plan: str, name: str) -> None:
    problem = PROBLEMS[name]
    if not runs(plan, problem):
        pytest.skip(f"plan {plan} does not compute {problem.op} here")
    verdict = verify(problem, Variant.default(plan, problem), device="cuda", repeats=30)
    assert verdict.status == "ok", verdict.message


def on_gpu(arguments: dict[str, Any]) -> dict[str, Any]:
    return {n: x.cuda() if isinstance(x, torch.Tensor) else x for n, x in arguments.items()}


@pytest.mark.parametrize("plan", KERNEL_PLANS)
@pytest.mark.parametrize("case", [{"T": 37}, {"B": 1, "T": 80, "offsets": [0, 5, 5, 70, 80]}])
def test_a_captured_call_replays(plan: str, case: dict[str, Any]) -> None:
    if plan == "segmented":  # which wants sequences longer than a segment
        case = {**case, "T": case["T"] + 1100}
    if plan == "segmented" and "offsets" in case:
        case = {**case, "offsets": [*case["offsets"], case["T"]]}
    arguments = call(**case)
    o_ref, ht_ref = expected(arguments)
    given = on_gpu(arguments)
    with gdn_ops.using(plan), torch.no_grad():
        gdn_ops.chunk_gated_delta_rule(**given)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            o, ht = gdn_ops.chunk_gated_delta_rule(**given)
    o.zero_()
    graph.replay()
    torch.cuda.synchronize()
    assert ht is not None
    assert_close("o", o_ref, o.cpu(), 1e-4)
    assert_close("final state", ht_ref, ht.cpu(), 1e-4)


def test_a_first_call_inside_a_capture_is_refused() -> None:
    given = on_gpu(call(T=23))
    with (
        gdn_ops.using("split"),
        torch.no_grad(),
        pytest.raises(gdn_ops.errors.LaunchError, match="capture"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        gdn_ops.chunk_gated_delta_rule(**given)


@pytest.mark.parametrize("plan", ["split"])
def test_gradients_of_a_call(plan: str) -> None:
    arguments = call(T=150, K=64, V=64)
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
        assert_close(f"d{name}", ref, got.cpu(), 1e-3)


def test_a_sequence_has_the_same_bits_alone_and_in_a_batch() -> None:
    arguments = on_gpu(call(B=3, T=200, K=64, V=64, dtype=torch.bfloat16, state=False))
    names = ("q", "k", "v", "g", "beta")
    with gdn_ops.using("split"), gdn_ops.batch_invariant(), torch.no_grad():
        batch, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
        alone, _ = gdn_ops.chunk_gated_delta_rule(
            **(arguments | {n: arguments[n][1:2].contiguous() for n in names})
        )
    assert torch.equal(batch[1], alone[0])
