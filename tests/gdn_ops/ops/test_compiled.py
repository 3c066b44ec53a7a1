"""torch.compile and torch.export see the rule as one operator, forward and backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import gdn_ops
from gdn_ops.dispatch import bindings
from gdn_ops.errors import UnknownName
from gdn_ops.launch.stage_launcher import StageLauncher, Workspace
from gdn_ops.layers import GatedDeltaNet
from tests.gdn_ops.launch.test_gradients import leaves
from tests.gdn_ops.ops.calls import call

CASES: dict[str, dict[str, Any]] = {
    "batch": {"T": 20},
    "packed": {"B": 1, "T": 40, "offsets": [0, 5, 5, 33]},
    "no gate": {"gate": "none", "T": 20, "B": 1},
    "no state": {"state": False, "T": 20, "B": 1},
}


@pytest.fixture(autouse=True)
def no_graphs_of_other_tests() -> None:
    torch.compiler.reset()


def whole_graph(function: Any) -> Any:
    """Compile without graph breaks. The backend generates no code, which is not tested here."""
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("name", CASES)
def test_a_compiled_call_equals_the_eager_one(name: str) -> None:
    arguments = call(**CASES[name])

    def rule(**given: Any) -> tuple[Tensor, Tensor]:
        o, ht = gdn_ops.chunk_gated_delta_rule(**given)
        assert ht is not None
        return o * 2, ht

    with torch.no_grad():
        for wanted, got in zip(rule(**arguments), whole_graph(rule)(**arguments), strict=True):
            assert torch.equal(wanted, got)


@pytest.mark.parametrize("name", CASES)
def test_a_compiled_call_has_the_eager_gradients(name: str) -> None:
    arguments = call(**CASES[name])

    def loss(**given: Any) -> Tensor:
        o, ht = gdn_ops.chunk_gated_delta_rule(
            **given, use_qk_l2norm_in_kernel=True, state_v_first=False
        )
        assert ht is not None
        return o.square().sum() + ht.sum()

    eager, compiled = leaves(arguments), leaves(arguments)
    loss(**(arguments | eager)).backward()
    whole_graph(loss)(**(arguments | compiled)).backward()
    for leaf in eager:
        torch.testing.assert_close(compiled[leaf].grad, eager[leaf].grad)


@pytest.mark.parametrize(
    "flags", [("use_qk_l2norm_in_kernel",), ("use_beta_sigmoid_in_kernel", "allow_neg_eigval")]
)
def test_nan_after_the_sequences_does_not_reach_compiled_gradients(flags: tuple[str, ...]) -> None:
    arguments = call(B=1, T=9, offsets=[0, 5])
    for name in ("q", "k", "v", "g", "beta"):
        arguments[name][:, 5:] = float("nan")

    def loss(**given: Any) -> Tensor:
        o, ht = gdn_ops.chunk_gated_delta_rule(**given, **dict.fromkeys(flags, True))
        assert ht is not None
        return o.square().sum() + ht.sum()

    eager, compiled = leaves(arguments), leaves(arguments)
    loss(**(arguments | eager)).backward()
    whole_graph(loss)(**(arguments | compiled)).backward()
    for name in ("q", "k", "v", "g", "beta"):
        torch.testing.assert_close(compiled[name].grad, eager[name].grad)
        assert not compiled[name].grad[:, 5:].any(), name


def test_gradients_of_a_compiled_call_have_the_mode_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages: list[str] = []
    launch = StageLauncher.launch

    def seen(stage: StageLauncher, workspace: Workspace) -> None:
        stages.append(stage.name)
        launch(stage, workspace)

    monkeypatch.setattr(StageLauncher, "launch", seen)
    arguments = call(B=1, T=10, H=1, HV=1, V=16)

    @whole_graph
    def loss(**given: Any) -> Tensor:
        return gdn_ops.chunk_gated_delta_rule(**given)[0].sum()

    # Both modes share one graph, as no guard depends on the mode. A compiled call saves only its
    # inputs, as documented.
    with gdn_ops.using("split"), gdn_ops.saving_for_backward("states"):
        split = loss(**(arguments | leaves(arguments)))
    torch_plan = loss(**(arguments | leaves(arguments)))
    stages.clear()
    split.backward()
    assert {"solve", "chunk_h", "bwd_dqkvg"} <= set(stages)
    stages.clear()
    with gdn_ops.using("split"):
        torch_plan.backward()
    assert stages == ["torch_backward"]


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of the stages that are launched, in order."""
    names: list[str] = []
    launch = StageLauncher.launch

    def seen(stage: StageLauncher, workspace: Workspace) -> None:
        names.append(stage.name)
        launch(stage, workspace)

    monkeypatch.setattr(StageLauncher, "launch", seen)
    return names


SMALL = {"B": 1, "T": 10, "H": 1, "HV": 1, "V": 16}


def test_modes_set_inside_a_compiled_function_apply_to_its_calls(stages: list[str]) -> None:
    arguments = call(**SMALL)

    def rule(**given: Any) -> Tensor:
        usual, _ = gdn_ops.chunk_gated_delta_rule(**given)
        with gdn_ops.using("split"), gdn_ops.keeping("states"):
            split, _ = gdn_ops.chunk_gated_delta_rule(**given)
        with gdn_ops.batch_invariant():
            again, _ = gdn_ops.chunk_gated_delta_rule(**given)
            with gdn_ops.using("recurrent"):
                inner, _ = gdn_ops.chunk_gated_delta_rule(**given)
        return usual + split + again + inner

    compiled = whole_graph(rule)
    with gdn_ops.using("torch"):
        wanted = rule(**arguments)
        eager = list(stages)
        stages.clear()
        assert torch.equal(compiled(**arguments), wanted)
    assert stages == eager and "solve" in eager and "recurrent" in eager
    stages.clear()
    compiled(**(arguments | leaves(arguments))).sum().backward()
    assert {"torch_backward", "bwd_dqkvg"} <= set(stages)
    assert gdn_ops.dispatch.mode.TRACED == []


def test_batch_invariance_inside_a_compiled_region_reaches_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []
    choose = bindings.choose

    def seen(*given: Any, invariant: bool = False, **more: Any) -> Any:
        asked.append(invariant)
        return choose(*given, invariant=invariant, **more)

    monkeypatch.setattr(bindings, "choose", seen)
    gdn_ops.refresh()

    @whole_graph
    def rule(**given: Any) -> Tensor:
        with gdn_ops.batch_invariant():
            return gdn_ops.chunk_gated_delta_rule(**given)[0]

    with torch.no_grad():
        rule(**call(**SMALL))
    assert asked == [True]


def test_a_mode_around_a_graph_break_is_kept(stages: list[str]) -> None:
    def rule(**given: Any) -> Tensor:
        with gdn_ops.using("split"):
            first, _ = gdn_ops.chunk_gated_delta_rule(**given)
            torch._dynamo.graph_break()
            return first + gdn_ops.chunk_gated_delta_rule(**given)[0]

    torch.compile(rule, backend="aot_eager")(**call(**SMALL))
    assert stages.count("solve") == 2
    assert "torch_chunk" not in stages


def test_modes_not_allowed_in_a_compiled_function_are_refused() -> None:
    arguments = call(**SMALL)
    problem = gdn_ops.Problem(
        op="forward", H=1, HV=1, K=16, V=16, dtype="fp32", tokens=10, sequences=1
    )
    variant = gdn_ops.Variant.default("torch", problem)

    def within(mode: Any) -> Any:
        def rule(**given: Any) -> Tensor:
            with mode():
                return gdn_ops.chunk_gated_delta_rule(**given)[0]

        return whole_graph(rule)

    with pytest.raises(UnknownName, match="unknown plan 'nope'"):
        within(lambda: gdn_ops.using("nope"))(**arguments)
    with pytest.raises(Exception, match=r"UnsupportedProblem.*around the call of the compiled"):
        within(lambda: gdn_ops.using(variant))(**arguments)
    with pytest.raises(Exception, match=r"InvalidInput.*give one of inputs, inverse, states"):
        within(lambda: gdn_ops.keeping("nope"))(**arguments)


@pytest.mark.parametrize("name", ["gk", "gv"])
def test_decays_per_channel(name: str) -> None:
    x = call(B=1, T=12, offsets=[0, 5, 10])
    x[name] = -torch.rand(1, 12, 4, 16 if name == "gk" else 32)
    compiled = whole_graph(gdn_ops.fused_recurrent_gated_delta_rule)
    if name == "gv":
        with pytest.raises(Exception, match=r"UnsupportedProblem.*make the call outside"):
            compiled(**x)
        del x["cu_seqlens"], x["initial_state"]
    with torch.no_grad():
        eager = gdn_ops.fused_recurrent_gated_delta_rule(**x)
        for wanted, got in zip(eager, compiled(**x), strict=True):
            torch.testing.assert_close(got, wanted)


def layer() -> GatedDeltaNet:
    torch.manual_seed(0)
    return GatedDeltaNet(hidden_size=32, head_dim=16, num_heads=2, num_v_heads=4, expand_v=1)


def test_a_compiled_layer_trains_a_step_equal_to_eager() -> None:
    x = torch.randn(2, 20, 32)
    steps = []
    for wrapped in (lambda module: module, whole_graph):
        module = layer()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        wrapped(module)(x)[0].square().mean().backward()
        optimizer.step()
        steps.append({n: p.detach().clone() for n, p in module.named_parameters()})
    for name, parameter in steps[0].items():
        torch.testing.assert_close(steps[1][name], parameter)


def test_an_exported_layer_computes_the_same() -> None:
    module, x = layer().eval(), torch.randn(1, 20, 32)
    with torch.no_grad():
        exported = torch.export.export(module, (x,))
        torch.testing.assert_close(exported.module()(x)[0], module(x)[0])
    assert any("gdn_ops.rule" in str(node.target) for node in exported.graph.nodes)


def test_a_layer_exported_for_inference_can_be_trained() -> None:
    class Rule(torch.nn.Module):
        def forward(self, **given: Tensor) -> Tensor:
            return gdn_ops.chunk_gated_delta_rule(**given)[0]

    x = call(T=20, B=1, state=False)
    arguments = {name: x[name] for name in ("q", "k", "v", "g", "beta")}
    with torch.no_grad():
        exported = torch.export.export(Rule(), (), arguments).module()
    eager, traced = leaves(arguments), leaves(arguments)
    Rule()(**eager).square().sum().backward()
    exported(**traced).square().sum().backward()
    for name, leaf in eager.items():
        assert torch.equal(leaf.grad, traced[name].grad), name


def test_the_operators_pass_opcheck() -> None:
    x = leaves(call(T=8, B=1))
    arguments = (
        x["q"], x["k"], x["v"], x["g"], x["beta"], None, None, x["initial_state"], None, None,
        0.25, True,
    )  # fmt: skip
    torch.library.opcheck(torch.ops.gdn_ops.rule, arguments)
