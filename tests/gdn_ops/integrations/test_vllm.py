"""vLLM's calling convention on gdn_ops, on stub modules with vLLM's recorded signatures."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gdn_ops.dispatch.mode import using
from gdn_ops.integrations import engine as engine_module
from gdn_ops.integrations import vllm as plugin
from gdn_ops.integrations.engine_signatures import CUSTOM_OP, OLMO, QWEN, recorded
from gdn_ops.reference import gated_delta_rule_reference
from tests.close import assert_close
from tests.gdn_ops.integrations import engine_stubs
from tests.gdn_ops.integrations.engine_stubs import THEIRS
from tests.gdn_ops.serving.pool_case import PoolCase
from tests.results import ENVIRONMENT, Bench

VERSION = "0.33.0"
NAMES = (
    (QWEN, "fused_recurrent_gated_delta_rule_packed_decode"),
    (QWEN, "fused_sigmoid_gating_delta_rule_update"),
    (OLMO, "chunk_gated_delta_rule"),
    (OLMO, "fused_recurrent_gated_delta_rule"),
)
BAR = 1e-5


@pytest.fixture(autouse=True)
def vllm(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    monkeypatch.setenv(plugin.VARIABLE, "1")
    caplog.set_level(logging.INFO)
    with engine_stubs.engine("vllm", VERSION), using("torch"):
        yield
        plugin.take_back()
    plugin._ENGINE._said.clear()


def module(name: str) -> Any:
    return importlib.import_module(name)


def originals() -> dict[str, Any]:
    return {name: getattr(module(owner), name) for owner, name in NAMES}


def with_padding(pool: Tensor) -> Tensor:
    """The pool of a case as vLLM has it: behind slot 0, which is for padding."""
    return torch.cat([torch.full_like(pool[:1], torch.nan), pool])


def check_pool(case: PoolCase, o: Tensor, pool: Tensor) -> None:
    """Compare o and vLLM's pool with the recurrence; other slots must be as before."""
    before = with_padding(case.pool(case.room()))
    right, states = case.expected(before[1:])
    assert_close("o", right, o.reshape(right.shape), BAR)
    for slot, state in states.items():
        assert_close(f"slot {slot}", state, pool[slot + 1], BAR)
        pool[slot + 1] = before[slot + 1]
    assert torch.equal(pool.nan_to_num(7.0), before.nan_to_num(7.0))


def test_one_line_says_what_was_replaced(caplog: pytest.LogCaptureFixture) -> None:
    before = originals()
    plugin.plug_in()
    assert [r.levelname for r in caplog.records] == ["INFO"]
    text = caplog.messages[0]
    assert f"vLLM {VERSION}" in text and "left in place" not in text
    for name in ("ChunkGatedDeltaRule", *before):
        assert name in text
    for name, theirs in before.items():
        assert originals()[name] is not theirs
        assert inspect.signature(originals()[name]) == inspect.signature(theirs)


def test_prefill_of_packed_sequences_into_the_buffer_of_the_layer() -> None:
    plugin.plug_in()
    rule = module(QWEN).ChunkGatedDeltaRule()
    assert rule.gdn_prefill_backend == "triton"
    torch.manual_seed(0)
    T, H, HV, K, V, offsets = 90, 2, 4, 16, 24, (0, 65, 66, 90)
    q, k = torch.randn(2, 1, T, H, K).unbind()
    v, g, beta = torch.randn(1, T, HV, V), -torch.rand(1, T, HV), torch.rand(1, T, HV)
    state, room = torch.randn(3, HV, V, K), torch.full((T + 6, HV, V), 7.0)
    starts = torch.tensor(offsets, dtype=torch.int32)
    o, final = rule(
        q=q, k=k, v=v, g=g, beta=beta, initial_state=state, output_final_state=True,
        cu_seqlens=starts, chunk_indices=None, chunk_offsets=None, use_qk_l2norm_in_kernel=True,
        core_attn_out=room,
    )  # fmt: skip
    right, right_state = gated_delta_rule_reference(
        q, k, v, g, beta, initial_state=state.mT, output_final_state=True,
        use_qk_l2norm_in_kernel=True, cu_seqlens=starts, dtype=torch.float64,
    )  # fmt: skip
    assert right_state is not None
    assert_close("o", right, o, BAR)
    assert_close("core_attn_out", right[0], room[:T], BAR)
    assert (room[T:] == 7).all()
    assert_close("final state", right_state.mT, final, BAR)
    assert o.data_ptr() == room.data_ptr()


def test_prefill_without_norm_and_with_the_metadata_of_other_kernels() -> None:
    plugin.plug_in()
    rule = module(QWEN).ChunkGatedDeltaRule()
    torch.manual_seed(1)
    q, k = torch.randn(1, 20, 1, 16), torch.randn(1, 20, 1, 16) / 4
    v, g, beta = torch.randn(1, 20, 2, 8), -torch.rand(1, 20, 2), torch.rand(1, 20, 2)
    state = torch.randn(1, 2, 8, 16)
    o, final = rule(
        q, k, v, g, beta, state, False, torch.tensor([0, 20]), torch.zeros(1, 2), torch.zeros(2),
        use_qk_l2norm_in_kernel=False, aiter_prefill_metadata=object(),
    )  # fmt: skip
    right, _ = gated_delta_rule_reference(q, k, v, g, beta, initial_state=state.mT)
    assert_close("o", right, o, BAR)
    assert final is None


def test_packed_decode_with_padding_in_slot_0() -> None:
    plugin.plug_in()
    case = PoolCase(HV=4, H=2, slots=(3, -1, 0, 5, -1), gap=3)
    x, B = case.inputs, 5
    pool, out = with_padding(case.pool(case.room())), torch.full((B, 1, case.HV, case.V), 7.0)
    slots = torch.tensor([4, 0, 1, 6, -1], dtype=torch.int32)
    returned = module(QWEN).fused_recurrent_gated_delta_rule_packed_decode(
        mixed_qkv=torch.cat([x[name].reshape(B, -1) for name in "qkv"], dim=1),
        a=x["a"][:, 0], b=x["b"][:, 0], A_log=x["A_log"], dt_bias=x["dt_bias"], scale=x["scale"],
        initial_state=pool, out=out, ssm_state_indices=slots, use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    assert returned[0] is out and returned[1] is pool
    check_pool(case, out, pool)
    assert slots.tolist() == [4, 0, 1, 6, -1]


def test_verification_of_drafts_of_mixed_lengths() -> None:
    plugin.plug_in()
    case = PoolCase(
        T=9, HV=4, H=2, slots=((1, 2, 3), (-1, -1, -1), (4, 6, -1), (0, 5, -1)),
        accepted=(2, 1, 1, 1), offsets=(0, 3, 4, 7, 7), pool_size=8,
    )  # fmt: skip
    x = case.inputs
    pool = with_padding(case.pool(case.room()))
    o, returned = module(QWEN).fused_sigmoid_gating_delta_rule_update(
        A_log=x["A_log"], a=x["a"][0], b=x["b"][0], dt_bias=x["dt_bias"], q=x["q"], k=x["k"],
        v=x["v"], scale=x["scale"], initial_state=pool, inplace_final_state=True,
        cu_seqlens=x["cu_seqlens"], ssm_state_indices=x["ssm_state_indices"] + 1,
        num_accepted_tokens=x["num_accepted_tokens"], use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    assert returned is pool
    check_pool(case, o, pool)


def test_olmo_decodes_with_activated_gates_and_beta_up_to_2() -> None:
    plugin.plug_in()
    torch.manual_seed(2)
    q, k = torch.randn(2, 1, 3, 4, 16).unbind()
    v, g, beta = torch.randn(1, 3, 4, 24), -torch.rand(1, 3, 4), 2 * torch.rand(1, 3, 4)
    pool = torch.randn(5, 4, 24, 16)
    before = pool.clone()
    o, _ = module(OLMO).fused_recurrent_gated_delta_rule(
        q=q, k=k, v=v, g=g, beta=beta, initial_state=pool, inplace_final_state=True,
        cu_seqlens=torch.tensor([0, 1, 2, 3]), ssm_state_indices=torch.tensor([4, 0, 2]),
        use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    for n, slot in ((0, 4), (2, 2)):
        at = slice(n, n + 1)
        right, state = gated_delta_rule_reference(
            q[:, at], k[:, at], v[:, at], g[:, at], beta[:, at], output_final_state=True,
            initial_state=before[slot : slot + 1].mT, use_qk_l2norm_in_kernel=True,
        )  # fmt: skip
        assert state is not None
        assert_close(f"o of {n}", right, o[:, at], BAR)
        assert_close(f"slot {slot}", state[0].mT, pool[slot], BAR)
    assert not o[:, 1].any()
    assert torch.equal(pool[[0, 1, 3]], before[[0, 1, 3]])


def test_olmo_prefills_with_its_own_defaults() -> None:
    plugin.plug_in()
    torch.manual_seed(3)
    q, k = torch.randn(1, 12, 2, 16), torch.randn(1, 12, 2, 16) / 4
    v, g, beta = torch.randn(1, 12, 2, 24), -torch.rand(1, 12, 2), torch.rand(1, 12, 2)
    o, state = module(OLMO).chunk_gated_delta_rule(q, k, v, g, beta)
    assert_close("o", gated_delta_rule_reference(q, k, v, g, beta)[0], o, BAR)
    assert state is None


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("fused_recurrent_gated_delta_rule_packed_decode", "scale, ", "", "no parameter scale"),
        (
            "fused_sigmoid_gating_delta_rule_update",
            "use_qk", "ddtree_parent_ids=None, use_qk",
            "its parameter ddtree_parent_ids=None is not known",
        ),
        (
            "fused_recurrent_gated_delta_rule",
            "inplace_final_state=True", "inplace_final_state=False",
            "inplace_final_state=False for inplace_final_state=True",
        ),
        ("chunk_gated_delta_rule", "(q, k, ", "(k, q, ", "another order"),
    ],
)  # fmt: skip
def test_a_changed_signature_keeps_vllms_function(
    name: str, old: str, new: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    owner = next(o for o, n in NAMES if n == name)
    parameters = recorded(f"{owner}.{name}")[-1].parameters
    assert old in parameters
    with engine_stubs.engine("vllm", "0.99", {name: parameters.replace(old, new)}):
        before = originals()
        plugin.plug_in()
        after = originals()
        plugin.take_back()
    assert after[name] is before[name]
    assert all(after[n] is not before[n] for n in before if n != name)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "vLLM 0.99" in record.message
    assert reason in record.message.partition("left in place")[2]
    assert name in record.message.partition("left in place")[2]


def test_a_changed_prefill_keeps_vllms_class(caplog: pytest.LogCaptureFixture) -> None:
    name = "ChunkGatedDeltaRule.forward_native"
    parameters = recorded(f"{QWEN}.{name}")[-1].parameters.replace("chunk_offsets=None, ", "")
    with engine_stubs.engine("vllm", "0.99", {name: parameters}):
        plugin.plug_in()
        assert not module(CUSTOM_OP).op_registry_oot
        assert module(QWEN).ChunkGatedDeltaRule()(*range(7)) == (THEIRS, "prefill")
        plugin.take_back()
    assert "no parameter chunk_offsets=None" in caplog.messages[0]


def test_the_older_prefill_is_served_too() -> None:
    name = "ChunkGatedDeltaRule.forward_native"
    older = recorded(f"{QWEN}.{name}")[0]
    with engine_stubs.engine("vllm", older.version, {name: older.parameters}):
        plugin.plug_in()
        assert "ChunkGatedDeltaRule" in module(CUSTOM_OP).op_registry_oot
        plugin.take_back()


def test_missing_names_and_modules_are_named(caplog: pytest.LogCaptureFixture) -> None:
    del module(QWEN).fused_sigmoid_gating_delta_rule_update
    del sys.modules[OLMO]
    delattr(module(OLMO.rpartition(".")[0]), OLMO.rpartition(".")[2])
    plugin.plug_in()
    left = caplog.messages[0].partition("left in place")[2]
    for name in ("fused_sigmoid_gating_delta_rule_update", "olmo_gdn_linear_attn"):
        assert f"{name}" in left
    assert left.count("it does not exist") == 3
    assert not hasattr(module(QWEN), "fused_sigmoid_gating_delta_rule_update")


@pytest.mark.parametrize(
    "fault", ["import no_such_package_here", "raise RuntimeError('no driver')"]
)
def test_a_module_that_cannot_be_imported_is_named(
    fault: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    package, _, name = OLMO.rpartition(".")
    (tmp_path / f"{name}.py").write_text(fault)
    del sys.modules[OLMO]
    delattr(module(package), name)
    module(package).__path__.append(str(tmp_path))
    plugin.plug_in()
    left = caplog.messages[0].partition("left in place")[2]
    assert left.count("it cannot be imported") == 2 and "qwen" not in left
    assert "no_such_package_here" in left or "RuntimeError: no driver" in left
    assert "ChunkGatedDeltaRule" in module(CUSTOM_OP).op_registry_oot


def test_a_prefill_of_another_plug_in_stays(caplog: pytest.LogCaptureFixture) -> None:
    class OtherRule: ...

    registry = module(CUSTOM_OP).op_registry_oot
    registry["ChunkGatedDeltaRule"] = OtherRule
    plugin.plug_in()
    assert registry["ChunkGatedDeltaRule"] is OtherRule
    assert "OtherRule is registered in its place" in caplog.messages[0]
    plugin.take_back()
    assert registry["ChunkGatedDeltaRule"] is OtherRule


def test_a_second_call_does_nothing_and_take_back_restores(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = originals()
    plugin.plug_in()
    bound, registered = originals(), dict(module(CUSTOM_OP).op_registry_oot)
    plugin.plug_in()
    assert originals() == bound and module(CUSTOM_OP).op_registry_oot == registered
    assert len(caplog.records) == 1
    for _ in range(2):
        plugin.take_back()
        assert originals() == before
        assert not module(CUSTOM_OP).op_registry_oot
    plugin.plug_in()
    assert all(originals()[name] is not before[name] for name in before)


@pytest.mark.parametrize(
    ("value", "said"),
    [("0", "GDN_OPS_VLLM is 0"), ("yes", "set it to 1 or 0"), ("", "no measured winners for Test")],
)
def test_it_is_inactive_when_not_switched_on(
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(plugin.VARIABLE, value)
    monkeypatch.setenv("GDN_RESULTS_DB", str(tmp_path / "none.db"))
    monkeypatch.setattr(engine_module, "gpu_names", lambda: frozenset({ENVIRONMENT.device}))
    before = originals()
    plugin.plug_in()
    assert originals() == before and not module(CUSTOM_OP).op_registry_oot
    assert len(caplog.records) == 1 and said in caplog.messages[0]


@pytest.mark.parametrize(("predicted", "active"), [(False, True), (True, False)])
def test_measured_winners_for_the_gpu_switch_it_on(
    predicted: bool, active: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bench = Bench(tmp_path / "results.db")
    bench.win(predicted=predicted)
    monkeypatch.delenv(plugin.VARIABLE)
    monkeypatch.setenv("GDN_RESULTS_DB", str(bench.close()))
    monkeypatch.setattr(engine_module, "gpu_names", lambda: frozenset({ENVIRONMENT.device}))
    before = originals()
    plugin.plug_in()
    assert (originals() != before) is active


def test_calls_that_gdn_ops_cannot_serve_run_on_vllms_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plugin.plug_in()
    case = PoolCase(slots=(3, 1))
    x = {n: case.inputs[n] for n in ("A_log", "a", "b", "dt_bias", "q", "k", "v")}
    pool = case.pool(case.room())
    before = pool.clone()
    update = module(QWEN).fused_sigmoid_gating_delta_rule_update
    slots = case.inputs["ssm_state_indices"]
    half = {n: t.half() if n in "qkv" else t for n, t in x.items()}
    calls: list[tuple[dict[str, Any], str]] = [
        (x, "ssm_state_indices is None"),
        ({**half, "ssm_state_indices": slots}, "states are float32"),
        ({**x, "ssm_state_indices": slots, "is_kda": True}, "gate per key channel"),
        ({**x, "ssm_state_indices": slots, "threshold": 3.0}, "softplus"),
    ]
    for arguments, reason in calls:
        caplog.clear()
        for _ in range(2):
            assert update(**arguments, initial_state=pool) == (THEIRS, "sigmoid gating")
        (record,) = caplog.records  # said once
        assert reason in record.message and "fused_sigmoid_gating" in record.message
    assert torch.equal(pool, before)
    rule = module(QWEN).ChunkGatedDeltaRule()
    q = torch.randn(1, 4, 2, 16)
    room = torch.empty(4, 16, 2).transpose(1, 2)
    result = rule(q, q, q, q[..., 0], q[..., 0], None, True, core_attn_out=room)
    assert result == (THEIRS, "prefill")
