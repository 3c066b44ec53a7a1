"""``saving_for_backward``: the same gradients, with more tensors saved and fewer stages run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import gdn_ops
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.saving_cost import input_bytes
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch import bindings, choice
from gdn_ops.dispatch.mode import MODE
from gdn_ops.errors import UnknownName
from gdn_ops.launch.stage_launcher import StageLauncher, Workspace
from tests.close import assert_close
from tests.gdn_ops.launch.test_gradients import check, leaves, reference
from tests.gdn_ops.ops.calls import call

CHOICES = ("inputs", "inverse", "states")
SPARED: dict[str, set[str]] = {
    "inputs": set(),
    "inverse": {"gate_cumsum", "solve"},
    "states": {"gate_cumsum", "solve", "chunk_wu", "chunk_h"},
}
SMALL: dict[str, Any] = {"B": 1, "H": 1, "HV": 2, "K": 16, "V": 16}
CASES: dict[str, dict[str, Any]] = {
    "value heads share a key head": {**SMALL, "T": 20},
    "packed": {**SMALL, "T": 70, "offsets": [0, 3, 3, 67]},
    "no gate": {**SMALL, "T": 20, "gate": "none"},
}


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Record the stages that are launched, in order."""
    names: list[str] = []
    launch = StageLauncher.launch

    def counted(stage: StageLauncher, workspace: Workspace) -> None:
        names.append(stage.name)
        launch(stage, workspace)

    monkeypatch.setattr(StageLauncher, "launch", counted)
    yield names


@dataclass
class Step:
    """Run a training step; return what autograd saved, the backward's stages, the gradients."""

    saved: list[Tensor]
    backward: set[str]
    gradients: dict[str, Tensor]


def step(arguments: dict[str, Any], keep: str, launched: list[str], plan: str = "split") -> Step:
    ours, saved = leaves(arguments), []

    def pack(x: Tensor) -> Tensor:
        saved.append(x)
        return x

    with (
        gdn_ops.using(plan),
        gdn_ops.saving_for_backward(keep),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x),
    ):
        o, ht = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    assert ht is not None
    launched.clear()
    torch.manual_seed(1)
    torch.autograd.backward([o, ht], [torch.randn_like(o), torch.randn_like(ht)])
    gradients = {name: x.grad for name, x in ours.items() if x.grad is not None}
    return Step(saved, set(launched), gradients)


@pytest.mark.parametrize("name", CASES)
def test_every_setting_gives_the_same_bits_and_runs_the_expected_stages(
    name: str, launched: list[str]
) -> None:
    arguments = call(**CASES[name])
    usual = step(arguments, "inputs", launched)
    assert {"solve", "chunk_wu", "chunk_h", "bwd_dqkvg"} <= usual.backward
    for keep in CHOICES[1:]:
        other = step(arguments, keep, launched)
        assert other.backward == usual.backward - SPARED[keep]
        assert usual.gradients.keys() == other.gradients.keys()
        for leaf, gradient in usual.gradients.items():
            assert torch.equal(gradient, other.gradients[leaf]), leaf


def test_gradients_with_all_tensors_saved_equal_fp64() -> None:
    with gdn_ops.saving_for_backward("states"):
        check("split", call(**SMALL, T=70, offsets=[0, 66, 70]))


@pytest.mark.parametrize("keep", CHOICES)
def test_autograd_saves_what_explain_says(keep: str, launched: list[str]) -> None:
    arguments = call(**SMALL, T=64, state=False)
    saved = step(arguments, keep, launched).saved
    with gdn_ops.using("split"), gdn_ops.saving_for_backward(keep):
        explanation = gdn_ops.explain(**(arguments | leaves(arguments))).gradients
    assert explanation is not None and f"{keep} (in force)" in str(explanation)
    (row,) = (row for row in explanation.kept if row.keep == keep)
    of_inputs = input_bytes(explanation.choice.problem)
    tokens = 64 * SMALL["HV"]
    assert sum(x.nbytes for x in saved) == (of_inputs + row.bytes) * tokens
    assert len(saved) == 5 + len(row.saved.names)


def test_plain_pytorch_saves_only_its_inputs_and_explain_says_why(launched: list[str]) -> None:
    arguments = call(**SMALL, T=20)
    assert len(step(arguments, "states", launched, "torch").saved) == 6
    with gdn_ops.using("torch"), gdn_ops.saving_for_backward("states"):
        text = str(gdn_ops.explain(**(arguments | leaves(arguments))))
    assert "inverse, states (in force): nothing but the inputs" in text
    assert "torch_chunk of plan torch" in text


def test_a_graph_may_be_used_twice(launched: list[str]) -> None:
    arguments = call(**SMALL, T=20)
    ours = leaves(arguments)
    with gdn_ops.using("split"), gdn_ops.saving_for_backward("states"):
        o, _ = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    loss, inputs = o.square().sum(), list(ours.values())
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    launched.clear()
    second = torch.autograd.grad(loss, inputs)
    assert not SPARED["states"].intersection(launched)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_mode_of_the_forward_call_applies_not_that_of_the_backward(launched: list[str]) -> None:
    # Without a gradient of the state, the backward is another problem than the call prepared for.
    arguments = call(**SMALL, T=20)
    for inside, outside in (("states", "inputs"), ("inputs", "states")):
        with gdn_ops.using("split"), gdn_ops.saving_for_backward(inside):
            o, _ = gdn_ops.chunk_gated_delta_rule(**(arguments | leaves(arguments)))
        launched.clear()
        with gdn_ops.saving_for_backward(outside):
            o.sum().backward()
        assert SPARED["states"].intersection(launched) == SPARED["states"] - SPARED[inside]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Callable[[Problem], Variant]]]:
    """Replace the variant of ``using("split")`` by one for each op, as stored winners may do."""
    variants: dict[str, Callable[[Problem], Variant]] = {}
    choose = choice.choose_forced
    monkeypatch.setattr(
        bindings,
        "choose_forced",
        lambda p, target, _, **more: choose(p, target, variants[p.op](p), **more),
    )
    gdn_ops.refresh()
    yield variants
    monkeypatch.undo()
    gdn_ops.refresh()


def check_sum(keep: str, launched: list[str], *, state: bool) -> set[str]:
    """Compare the gradients of a sum with fp64, and return the stages that ran for them."""
    arguments = call(**SMALL, T=20)
    ours, wide = leaves(arguments), leaves(arguments, torch.float64)
    with gdn_ops.using("split"), gdn_ops.saving_for_backward(keep):
        o, ht = gdn_ops.chunk_gated_delta_rule(**(arguments | ours))
    assert ht is not None
    launched.clear()
    (o.sum() + ht.sum() if state else o.sum()).backward()
    stages = set(launched)
    o, ht = reference(arguments, wide)
    (o.sum() + ht.sum() if state else o.sum()).backward()
    for name, leaf in ours.items():
        assert_close(f"d{name}", wide[name].grad, leaf.grad, 1e-4)
    return stages


def test_a_forward_of_another_plan_takes_the_interface_of_the_backward(
    launched: list[str], chosen: dict[str, Callable[[Problem], Variant]]
) -> None:
    chosen["forward"] = lambda problem: Variant.default("fused", problem)
    chosen["backward"] = lambda problem: Variant.of("split", problem, {"BT": 16})
    assert check_sum("states", launched, state=True).isdisjoint(SPARED["inverse"])
    arguments = call(**SMALL, T=20)
    with gdn_ops.using("split"), gdn_ops.saving_for_backward("states"):
        explanation = gdn_ops.explain(**(arguments | leaves(arguments)))
    wanted = {"BT": 16, "gate_free": True}
    assert explanation.variant == Variant.of("fused", explanation.choice.problem, wanted)
    assert "the forward runs as fused BT=16 gate_free=True" in str(explanation)


def test_a_backward_of_another_interface_does_not_read_saved_tensors(
    launched: list[str], chosen: dict[str, Callable[[Problem], Variant]]
) -> None:
    chosen["forward"] = lambda problem: Variant.default("split", problem)
    chosen["backward"] = lambda problem: Variant.of(
        "split", problem, {"BT": 64 if problem.final_state else 16}
    )
    assert check_sum("states", launched, state=True).isdisjoint(SPARED["states"])
    assert check_sum("states", launched, state=False) >= SPARED["states"]


def test_stages_that_no_wanted_gradient_depends_on_do_not_run(launched: list[str]) -> None:
    arguments = call(**SMALL, T=20)
    whole = step(arguments, "inputs", launched)
    states = {"chunk_h", "bwd_dqkvg", "bwd_gate"}
    for wanted, spared in (("v", {"bwd_gate"}), ("initial_state", states)):
        leaf = arguments[wanted].clone().requires_grad_()
        with gdn_ops.using("split"):
            o, ht = gdn_ops.chunk_gated_delta_rule(**(arguments | {wanted: leaf}))
        assert ht is not None
        launched.clear()
        torch.manual_seed(1)
        torch.autograd.backward([o, ht], [torch.randn_like(o), torch.randn_like(ht)])
        assert whole.backward - set(launched) >= spared
        assert torch.equal(leaf.grad, whole.gradients[wanted])


def test_an_unknown_setting_is_refused() -> None:
    with (
        pytest.raises(UnknownName, match="did you mean 'states'"),
        gdn_ops.saving_for_backward("state"),
    ):
        pass
    with gdn_ops.saving_for_backward("inverse"), gdn_ops.using("split"), gdn_ops.batch_invariant():
        mode = MODE.get()
    assert (mode.forced, mode.invariant, mode.keep) == ("split", True, "inverse")
    assert MODE.get().keep == "inputs"
