"""The serving functions on both plans: slots, layouts, verification, packed sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.kernels.pool_decode import SPEC
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.mode import using
from gdn_ops.serving import fused_sigmoid_gating_delta_rule_update
from tests.close import assert_close
from tests.codegen.reads import reads_inside
from tests.gdn_ops.serving.pool_case import BARS, PoolCase

CASE = PoolCase()
VERIFY = CASE.with_(
    T=3, slots=((3, 1, 4), (-1, -1, -1), (0, -1, 2), (5, 6, 7)), accepted=(2, 1, 1, 3), pool_size=9
)
PACKED = VERIFY.with_(T=9, offsets=(0, 3, 5, 5, 7))
PROBLEM = Problem(op="pool", H=1, HV=2, K=60, V=36, dtype="fp32", tokens=4, sequences=4)
WIDE: dict[str, Value] = {"num_warps": 4}
"""Room for the widest tile."""


def _choices(v_first: bool) -> Iterator[tuple[str, Value, Problem]]:
    """Every value of an axis, at the smallest V that it is not refused for."""
    problems = [replace(PROBLEM, state_v_first=v_first, V=V) for V in (36, 100)]
    for axis in SPEC.axes:
        for value in axis.values if not axis.launch else ():
            for problem in problems:
                config = {**SPEC.default(problem), **WIDE, axis.name: value}
                if not SPEC.reasons(problem, config, target_named("h100")):
                    yield axis.name, value, problem
                    break


CHOICES = [*_choices(True), *_choices(False)]
plans = pytest.mark.parametrize("plan", ["torch", "recurrent"])


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "rendered"))


@plans
@pytest.mark.parametrize("v_first", [True, False])
@pytest.mark.parametrize("state", BARS)
@pytest.mark.parametrize("dtype", BARS)
def test_decode(plan: str, dtype: torch.dtype, state: torch.dtype, v_first: bool) -> None:
    CASE.with_(dtype=dtype, state=state, v_first=v_first).check(plan)


@plans
@pytest.mark.parametrize("v_first", [True, False])
@pytest.mark.parametrize(("K", "V"), [(1, 1), (60, 100), (100, 60), (128, 64)])
def test_head_dims(plan: str, v_first: bool, K: int, V: int) -> None:
    CASE.with_(K=K, V=V, v_first=v_first, state=torch.float16).check(plan)


@plans
@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_query_head(plan: str, H: int, HV: int) -> None:
    CASE.with_(H=H, HV=HV).check(plan)


@plans
@pytest.mark.parametrize("case", [CASE, VERIFY, PACKED], ids=["decode", "verify", "packed"])
@pytest.mark.parametrize("index", [torch.int32, torch.int64])
def test_slots_at_any_distance(plan: str, case: PoolCase, index: torch.dtype) -> None:
    case.with_(gap=48, index=index, state=torch.bfloat16, v_first=False, H=2).check(plan)


@pytest.mark.triton
@plans
@pytest.mark.parametrize("v_first", [True, False])
@pytest.mark.parametrize("state", [torch.float32, torch.float16])
def test_verification_keeps_the_state_of_every_token(
    plan: str, v_first: bool, state: torch.dtype
) -> None:
    VERIFY.with_(v_first=v_first, state=state).check(plan)
    VERIFY.with_(v_first=v_first, state=state, accepted=None).check(plan)


@pytest.mark.triton
@plans
def test_packed_sequences_of_several_lengths_with_padding_after_them(plan: str) -> None:
    PACKED.check(plan)
    PACKED.with_(slots=(3, -1, 4, 2), accepted=None).check(plan)
    PACKED.with_(offsets=(0, 0, 0, 0, 0), slots=(3, -1, 4, 2), accepted=None).check(plan)


@plans
def test_one_slot_takes_the_state_after_the_last_token(plan: str) -> None:
    CASE.with_(T=3).check(plan)


@plans
def test_negative_slots_skip_all_sequences(plan: str) -> None:
    CASE.with_(slots=(-1, -1)).check(plan)


@plans
def test_an_empty_batch(plan: str) -> None:
    x = {name: CASE.inputs[name][:0] for name in ("q", "k", "v", "a", "b", "ssm_state_indices")}
    room = CASE.room()
    with using(plan):
        o, _ = fused_sigmoid_gating_delta_rule_update(
            **{**CASE.inputs, **x}, initial_state=CASE.pool(room)
        )
    assert o.shape == (0, 1, 2, 24)
    assert torch.equal(room, CASE.room())


@plans
def test_inference_mode(plan: str) -> None:
    with torch.inference_mode():
        PACKED.check(plan)


@plans
def test_more_rows_of_indices_than_sequences_are_ignored(plan: str) -> None:
    rows = torch.tensor([*CASE.slots, 1, 99])
    CASE.check(plan, ssm_state_indices=rows)


@plans
def test_without_indices_sequence_n_has_slot_n(plan: str) -> None:
    CASE.with_(slots=(0, 1, 2)).check(plan, ssm_state_indices=None)


@plans
def test_gates_with_one_row_per_token_and_no_bias(plan: str) -> None:
    flat = {name: CASE.inputs[name].flatten(0, 1) for name in ("a", "b")}
    CASE.check(plan, **flat)
    case = CASE.with_(K=8)
    case.inputs["dt_bias"] = torch.zeros(2)
    case.check(plan, dt_bias=None)


@plans
def test_the_softplus_of_another_beta(plan: str) -> None:
    """log(1 + exp(beta x)) / beta is the softplus of beta x, divided by beta."""
    case = CASE.with_(K=8)
    changed = {
        "a": case.inputs["a"] / 2,
        "dt_bias": case.inputs["dt_bias"] / 2,
        "A_log": case.inputs["A_log"] + torch.log(torch.tensor(2.0)),
    }
    case.check(plan, **changed, beta=2.0)


@plans
@pytest.mark.parametrize("case", [CASE, VERIFY, PACKED], ids=["decode", "verify", "packed"])
def test_strided_inputs_are_read_in_place(plan: str, case: PoolCase) -> None:
    """The inputs are views of one tensor whose other columns are NaN."""
    x = {name: case.inputs[name] for name in ("q", "k", "v", "a", "b")}
    flat = [x[name].flatten(2) for name in x]
    gap = torch.full((*flat[0].shape[:2], 3), float("nan"))
    row = torch.cat([z for y in flat for z in (y, gap)], dim=-1)
    start, views = 0, {}
    for name, y in zip(x, flat, strict=True):
        views[name] = row[..., start : start + y.shape[-1]].view(x[name].shape)
        start += y.shape[-1] + 3
    case.check(plan, **views)
    turned = {name: value.transpose(1, 2).contiguous().transpose(1, 2) for name, value in x.items()}
    case.check(plan, **turned)


@plans
@pytest.mark.parametrize("v_first", [True, False])
@pytest.mark.parametrize("case", [VERIFY, PACKED, CASE.with_(T=2)], ids=["verify", "packed", "one"])
def test_not_in_place_returns_the_state_after_each_token(
    plan: str, v_first: bool, case: PoolCase
) -> None:
    case = case.with_(v_first=v_first, state=torch.float16)
    pool, before = case.pool(case.room()), case.pool(case.room())
    with using(plan):
        o, states = fused_sigmoid_gating_delta_rule_update(
            **case.inputs, initial_state=pool, inplace_final_state=False
        )
    assert torch.equal(pool, before)
    assert_close("o", case.expected(before)[0], o, 1e-5)
    # The same tokens in place, with new slots for the state after each token.
    rows = o.shape[0] * o.shape[1]
    assert states.shape == (rows, *pool.shape[1:])
    more = torch.cat([before, torch.zeros_like(states)])
    columns = torch.full((len(case.slots), case.T + 1), -1)
    for n in range(len(case.slots)):
        first = 0 if case.offsets is None else case.offsets[n]
        count = case.T if case.offsets is None else case.offsets[n + 1] - first
        slots = torch.tensor(case._slots(n))
        columns[n, case.T] = slots[0 if case.accepted is None else case.accepted[n] - 1]
        base = n * case.T if case.offsets is None else first
        columns[n, :count] = len(before) + base + torch.arange(count)
    given = {
        **case.inputs,
        "ssm_state_indices": columns,
        "num_accepted_tokens": torch.full((len(case.slots),), case.T + 1),
    }
    with using(plan):
        fused_sigmoid_gating_delta_rule_update(**given, initial_state=more)
    assert torch.equal(states, more[len(before) :])
    assert states.any()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    CHOICES,
    ids=[f"{name}-{value}-{problem.state_v_first}" for name, value, problem in CHOICES],
)
def test_every_axis_value(name: str, value: Value, problem: Problem) -> None:
    v_first = problem.state_v_first
    variant = Variant.of("recurrent", problem, stages={"pool_decode": {**WIDE, name: value}})
    for case in (CASE, PACKED) if v_first else (CASE,):
        case.with_(K=problem.K, V=problem.V, v_first=v_first).check(variant)


@plans
def test_no_tokens(plan: str) -> None:
    x = {name: CASE.inputs[name][:, :0] for name in ("q", "k", "v", "a", "b")}
    room = CASE.room()
    with using(plan):
        o, _ = fused_sigmoid_gating_delta_rule_update(
            **{**CASE.inputs, **x}, initial_state=CASE.pool(room)
        )
    assert o.shape == (4, 0, 2, 24)
    assert torch.equal(room, CASE.room())


@pytest.mark.parametrize("offsets", [(0, 3, 5, 5, 7), (0, 3, 6, 9, 9)])
def test_a_kernel_reads_only_inside_its_tensors(offsets: tuple[int, ...]) -> None:
    slots = ((3, 1, 4), (-1, 2, 5), (0, -1, 2), (8, 6, 7))
    case = PACKED.with_(K=20, V=36, gap=12, slots=slots, offsets=offsets)
    room = case.room()
    given = [x for x in case.inputs.values() if isinstance(x, torch.Tensor)]
    with using("recurrent"), reads_inside([*given, room]):
        fused_sigmoid_gating_delta_rule_update(**case.inputs, initial_state=case.pool(room))


@plans
def test_slots_beyond_two_to_the_31st_element(plan: str) -> None:
    case = CASE.with_(H=1, HV=1, K=2, V=4, state=torch.float16, slots=(2, 0))
    # Pages that are never written take no memory.
    room = torch.empty(2**31 + 64, dtype=torch.float16)
    pool = room.as_strided((3, 1, 4, 2), (2**30 + 16, 8, 2, 1))
    small = torch.randn(3, 1, 4, 2).half()
    pool.copy_(small)
    with using(plan):
        o, _ = fused_sigmoid_gating_delta_rule_update(**case.inputs, initial_state=pool)
    right, states = case.expected(small)
    assert_close("o", right, o, 1e-5)
    for slot, state in states.items():
        assert_close(f"slot {slot}", state, pool[slot], 0.005)
    assert torch.equal(pool[1], small[1])
