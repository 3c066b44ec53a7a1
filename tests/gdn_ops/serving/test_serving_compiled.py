"""The serving functions inside torch.compile and torch.func, and with fake tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import gdn_ops
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.launch.stage_launcher import StageLauncher, Workspace
from gdn_ops.serving import (
    fused_recurrent_gated_delta_rule,
    fused_recurrent_gated_delta_rule_packed_decode,
    fused_sigmoid_gating_delta_rule_update,
)
from tests.gdn_ops.serving.pool_case import SCALE, PoolCase

CASES = {
    "decode": PoolCase(),
    "packed, with a gap": PoolCase(T=5, offsets=(0, 2, 2, 4), slots=(3, 0, -1), gap=8),
    "drafts": PoolCase(T=2, slots=((0, 1), (2, 3)), accepted=(1, 2)),
    "keys first": PoolCase(v_first=False, H=2, HV=4),
}
CASE = CASES["decode"]


@pytest.fixture(autouse=True)
def no_graphs_of_other_tests() -> None:
    torch.compiler.reset()


def whole_graph(function: Any) -> Any:
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("name", CASES)
def test_a_compiled_call_writes_what_the_eager_one_writes(name: str) -> None:
    case = CASES[name]
    rooms = case.room(), case.room()

    def step(room: Tensor, **given: Any) -> tuple[Tensor, Tensor]:
        pool = case.pool(room)
        o, same = fused_sigmoid_gating_delta_rule_update(**given, initial_state=pool)
        return o * 2, same.sum()

    eager = step(rooms[0], **case.inputs)
    compiled = whole_graph(step)(rooms[1], **case.inputs)
    for wanted, got in zip(eager, compiled, strict=True):
        assert torch.equal(wanted, got)
    assert torch.equal(*rooms)
    assert not torch.equal(rooms[0], case.room())


def test_returning_the_states_does_not_change_the_pool() -> None:
    case = PoolCase(T=3)
    x = {n: case.inputs[n] for n in ("q", "k", "v", "ssm_state_indices")}
    g, beta = -torch.rand(4, 3, 2), torch.rand(4, 3, 2)

    def step(pool: Tensor) -> tuple[Tensor, Tensor]:
        return fused_recurrent_gated_delta_rule(
            **x, g=g, beta=beta, initial_state=pool, inplace_final_state=False
        )

    pool = case.pool(case.room())
    before = pool.clone()
    for wanted, got in zip(step(pool), whole_graph(step)(pool), strict=True):
        assert torch.equal(wanted, got)
    assert torch.equal(pool, before)


@pytest.mark.parametrize("direct", [True, False])
def test_packed_decode_in_a_graph(direct: bool) -> None:
    case = PoolCase(H=2, HV=4)
    x = case.inputs
    rows = torch.cat([x[name].flatten(1) for name in ("q", "k", "v")], dim=1)
    rows = torch.cat([torch.zeros(4, 3), rows], dim=1)
    made = []
    for wrapped in (lambda step: step, whole_graph):
        pool = case.pool(case.room())
        out = torch.full((4, 1, 4, 24), float("nan"), dtype=None if direct else torch.float64)

        def step(rows: Tensor, pool: Tensor, out: Tensor) -> Tensor:
            o, _ = fused_recurrent_gated_delta_rule_packed_decode(
                rows[:, 3:], x["a"][:, 0], x["b"][:, 0], x["A_log"], x["dt_bias"], SCALE, pool,
                out, x["ssm_state_indices"], use_qk_l2norm_in_kernel=True,
            )  # fmt: skip
            return o + 1

        made.append((wrapped(step)(rows, pool, out), pool, out))
    for wanted, got in zip(*made, strict=True):
        assert torch.equal(wanted, got)


def test_a_mode_inside_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[str] = []
    launch = StageLauncher.launch

    def seen(stage: StageLauncher, workspace: Workspace) -> None:
        stages.append(stage.spec.language)
        launch(stage, workspace)

    monkeypatch.setattr(StageLauncher, "launch", seen)

    @whole_graph
    def steps(pool: Tensor, **given: Any) -> Tensor:
        with gdn_ops.using("recurrent"):
            o, pool = fused_sigmoid_gating_delta_rule_update(**given, initial_state=pool)
        with gdn_ops.using("torch"):
            return o + fused_sigmoid_gating_delta_rule_update(**given, initial_state=pool)[0]

    steps(CASE.pool(CASE.room()), **CASE.inputs)
    assert stages == ["triton", "torch"]


def test_no_gradient_is_recorded() -> None:
    leaf = CASE.inputs["v"].clone().requires_grad_()
    given = {**CASE.inputs, "v": leaf, "initial_state": CASE.pool(CASE.room())}
    o, pool = whole_graph(fused_sigmoid_gating_delta_rule_update)(**given)
    assert not o.requires_grad
    assert not pool.requires_grad


def test_an_invalid_call_is_refused_when_the_graph_runs() -> None:
    given = {**CASE.inputs, "initial_state": torch.zeros(7, 2, 16, 24)}
    with pytest.raises(InvalidInput, match=r"\[slots, 2, 24, 16\]"):
        whole_graph(fused_sigmoid_gating_delta_rule_update)(**given)


@pytest.mark.parametrize("in_place", [True, False])
def test_fake_tensors_give_the_shapes_of_the_call(in_place: bool) -> None:
    given = {**CASE.inputs, "initial_state": CASE.pool(CASE.room()).half()}
    real = fused_sigmoid_gating_delta_rule_update(**given, inplace_final_state=in_place)
    with FakeTensorMode() as mode:
        fake = {n: mode.from_tensor(x) if isinstance(x, Tensor) else x for n, x in given.items()}
        made = fused_sigmoid_gating_delta_rule_update(**fake, inplace_final_state=in_place)
    for wanted, got in zip(real, made, strict=True):
        assert got.shape == wanted.shape and got.dtype == wanted.dtype


@pytest.mark.parametrize("warm", [False, True])
def test_transforms_are_refused(warm: bool) -> None:
    pool = CASE.pool(CASE.room())

    def step(q: Tensor) -> Tensor:
        given = {**CASE.inputs, "q": q, "initial_state": pool}
        return fused_sigmoid_gating_delta_rule_update(**given)[0].sum()

    if warm:
        step(CASE.inputs["q"])
    q = CASE.inputs["q"]
    for transform, argument in ((torch.func.grad, q), (torch.vmap, q[None])):
        with pytest.raises(UnsupportedProblem, match=r"inside a transform of torch\.func"):
            transform(step)(argument)


@pytest.mark.parametrize("in_place", [True, False])
def test_the_operators_pass_opcheck(in_place: bool) -> None:
    x = CASE.inputs
    operator = torch.ops.gdn_ops.pool_update if in_place else torch.ops.gdn_ops.pool_states
    torch.library.opcheck(
        operator,
        (
            x["q"], x["k"], x["v"], x["a"], x["b"], x["A_log"], x["dt_bias"], SCALE,
            CASE.pool(CASE.room()), x["ssm_state_indices"], None, None, True, True, True,
        ),
    )  # fmt: skip
