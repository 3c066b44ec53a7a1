"""SGLang's calling convention on gdn_ops, on stub modules with SGLang's recorded signatures."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from gdn_ops.dispatch.mode import using
from gdn_ops.integrations import engine as engine_module
from gdn_ops.integrations import sglang as plugin
from gdn_ops.integrations.engine_signatures import GDN_TRITON, HOOKS, recorded
from gdn_ops.reference import gated_delta_rule_reference
from tests.close import assert_close
from tests.gdn_ops.integrations import engine_stubs
from tests.gdn_ops.integrations.engine_stubs import DISPATCHER, SERVER_ARGS, THEIRS
from tests.gdn_ops.serving.pool_case import SCALE, PoolCase

VERSION = "0.5.23"
METHODS = ("decode", "extend", "packed_decode", "target_verify")
BAR = 1e-5


@pytest.fixture(autouse=True)
def sglang(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    monkeypatch.setenv(plugin.VARIABLE, "1")
    caplog.set_level(logging.INFO)
    with engine_stubs.engine("sglang", VERSION), using("torch"):
        yield
        plugin.take_back()
    plugin._ENGINE._said.clear()


def module(name: str) -> Any:
    return importlib.import_module(name)


def load_plugins() -> Any:
    """Run the plug-in and apply the hooks, as SGLang does; return the kernel it then builds."""
    plugin.plug_in()
    module(HOOKS).HookRegistry.apply_hooks()
    return module(DISPATCHER).TritonGDNKernel()


def gates(case: PoolCase) -> dict[str, Tensor]:
    return {name: case.inputs[name] for name in ("A_log", "dt_bias")}


def check_pool(case: PoolCase, o: Tensor, pool: Tensor, before: Tensor, scale: float) -> None:
    """Compare o and the pool with the recurrence; slots that are not written stay."""
    right, states = case.expected(before)
    assert_close("o", right * (scale / SCALE), o.reshape(right.shape), BAR)
    for slot, state in states.items():
        assert_close(f"slot {slot}", state, pool[slot], BAR)
        pool[slot] = before[slot]
    assert torch.equal(pool, before)


def test_one_line_says_what_was_replaced(caplog: pytest.LogCaptureFixture) -> None:
    theirs = module(GDN_TRITON).TritonGDNKernel
    kernel = load_plugins()
    assert isinstance(kernel, theirs) and type(kernel) is not theirs
    assert type(kernel) is module(GDN_TRITON).TritonGDNKernel
    assert kernel.supports_packed_decode
    (record,) = caplog.records
    assert record.levelname == "INFO" and f"SGLang {VERSION}" in record.message
    assert "left in place" not in record.message
    for name in METHODS:
        assert f"TritonGDNKernel.{name}" in record.message


def test_decode_with_padding_slots() -> None:
    kernel = load_plugins()
    case = PoolCase(T=4, HV=4, H=2, slots=(3, -1, 0, 5), offsets=(0, 1, 2, 3, 4), gap=5)
    x, pool = case.inputs, case.pool(case.room())
    o = kernel.decode(
        x["q"], x["k"], x["v"], x["a"][0], x["b"][0], **gates(case),
        ssm_states=pool, cache_indices=x["ssm_state_indices"], query_start_loc=x["cu_seqlens"],
    )  # fmt: skip
    assert o.shape == (1, 4, case.HV, case.V)
    check_pool(case, o, pool, case.pool(case.room()), case.K**-0.5)


def test_packed_decode_with_padding_slots() -> None:
    kernel = load_plugins()
    case = PoolCase(HV=4, H=2, slots=(3, -1, 0, 5), index=torch.int64)
    x, pool = case.inputs, case.pool(case.room())
    o = kernel.packed_decode(
        torch.cat([x[name].reshape(4, -1) for name in "qkv"], dim=1), x["a"][:, 0], x["b"][:, 0],
        **gates(case), scale=0.5, ssm_states=pool, cache_indices=x["ssm_state_indices"],
        num_v_heads=case.HV, head_v_dim=case.V,
    )  # fmt: skip
    assert o.shape == (1, 4, case.HV, case.V)
    check_pool(case, o.transpose(0, 1), pool, case.pool(case.room()), 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("slots", [(6, 0, 2), (-1, 0, -1), (-1, -1, -1)])
def test_extend_updates_the_pool_in_place(slots: tuple[int, ...], dtype: torch.dtype) -> None:
    kernel = load_plugins()
    torch.manual_seed(0)
    T, H, HV, K, V, offsets = 70, 2, 4, 16, 24, (0, 40, 41, 70)
    q, k = torch.randn(2, 1, T, H, K).unbind()
    v, g, beta = torch.randn(1, T, HV, V), -torch.rand(1, T, HV), torch.rand(1, T, HV)
    pool = torch.randn(7, HV, V, K).to(dtype)
    before = pool.clone()
    o, last, h = kernel.extend(
        q, k, v, g, beta, ssm_states=pool, cache_indices=torch.tensor(slots, dtype=torch.int32),
        query_start_loc=torch.tensor(offsets, dtype=torch.int32),
    )  # fmt: skip
    assert last is None and h is None
    for n, slot in enumerate(slots):
        if slot < 0:
            continue
        at = slice(offsets[n], offsets[n + 1])
        right, state = gated_delta_rule_reference(
            q[:, at], k[:, at], v[:, at], g[:, at], beta[:, at], output_final_state=True,
            initial_state=before[slot : slot + 1].mT, use_qk_l2norm_in_kernel=True,
            dtype=torch.float64,
        )  # fmt: skip
        assert state is not None
        assert_close(f"o of {n}", right, o[:, at], BAR)
        bar = BAR if dtype == torch.float32 else 0.005
        assert_close(f"slot {slot}", state[0].mT, pool[slot], bar)
        pool[slot] = before[slot]
    assert torch.equal(pool, before)


def test_verification_of_chains_fills_the_buffer_and_not_the_pool() -> None:
    kernel = load_plugins()
    size, steps, slots, lengths = 6, 4, (5, -1, 0, 2), (3, 2, 4, 0)
    offsets = (0, 3, 5, 9, 9)
    # one pool for the reference: the states, then a slot for each sequence and step
    columns = [
        (*(size + n * steps + t for t in range(steps)), slot) if slot >= 0 else (-1,) * (steps + 1)
        for n, slot in enumerate(slots)
    ]
    case = PoolCase(
        T=9, HV=4, H=2, slots=tuple(columns), accepted=(steps + 1,) * 4, offsets=offsets,
        pool_size=size + 4 * steps,
    )  # fmt: skip
    x, both = case.inputs, case.pool(case.room())
    states, buffer = both[:size].clone(), both[size:].clone().unflatten(0, (4, steps))
    before = states.clone()
    o = kernel.target_verify(
        A_log=x["A_log"], dt_bias=x["dt_bias"], q=x["q"], k=x["k"], v=x["v"], a=x["a"][0],
        b=x["b"][0], ssm_states=states,
        cache_indices=torch.tensor(slots, dtype=torch.int32), query_start_loc=x["cu_seqlens"],
        intermediate_states_buffer=buffer,
        intermediate_state_indices=torch.arange(4, dtype=torch.int32), cache_steps=steps,
        retrieve_parent_token=None,
    )  # fmt: skip
    assert torch.equal(states, before)
    right, after = case.expected(both)
    assert_close("o", right * (case.K**-0.5 / SCALE), o, BAR)
    assert len(after) == sum(n for n, slot in zip(lengths, slots, strict=True) if slot >= 0)
    for slot, state in after.items():
        n, t = divmod(slot - size, steps)
        assert_close(f"state {t} of {n}", state, buffer[n, t], BAR)


@pytest.mark.parametrize("name", METHODS)
def test_a_changed_signature_keeps_sglangs_method(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    dotted = f"TritonGDNKernel.{name}"
    parameters = recorded(f"{GDN_TRITON}.{dotted}")[-1].parameters
    changed = parameters.replace("cache_indices, ", "slots, ")
    with engine_stubs.engine("sglang", "0.9", {dotted: changed}):
        theirs = module(GDN_TRITON).TritonGDNKernel
        kernel = type(load_plugins())
        plugin.take_back()
    assert getattr(kernel, name) is getattr(theirs, name)
    for other in METHODS:
        assert other == name or getattr(kernel, other) is not getattr(theirs, other)
    (record,) = caplog.records
    left = record.message.partition("left in place")[2]
    assert record.levelname == "WARNING" and "SGLang 0.9" in record.message
    assert dotted in left and "no parameter cache_indices" in left and "slots is not known" in left


def test_a_changed_registry_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    name = "HookRegistry.register"
    parameters = recorded(f"{HOOKS}.{name}")[-1].parameters.replace("AFTER", "REPLACE")
    with engine_stubs.engine("sglang", "0.9", {name: parameters}):
        theirs = module(GDN_TRITON).TritonGDNKernel
        assert type(load_plugins()) is theirs
    assert "hook_type=HookType.REPLACE for hook_type=HookType.AFTER" in caplog.messages[0]


def test_a_second_call_does_nothing_and_take_back_restores() -> None:
    theirs = module(GDN_TRITON).TritonGDNKernel
    ours = type(load_plugins())
    assert type(load_plugins()) is ours
    hooks = module(HOOKS).HookRegistry._hooks[f"{GDN_TRITON}.TritonGDNKernel"]
    assert [hook for _, hook, _ in hooks] == [ours]
    for _ in range(2):
        plugin.take_back()
        assert module(GDN_TRITON).TritonGDNKernel is theirs
        assert module(DISPATCHER).TritonGDNKernel is theirs
    module(HOOKS).HookRegistry.apply_hooks()
    assert module(DISPATCHER).TritonGDNKernel is theirs
    assert type(load_plugins()) is not theirs


@pytest.mark.parametrize("value", ["0", ""])
def test_it_is_inactive_when_not_switched_on(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(plugin.VARIABLE, value)
    monkeypatch.setattr(engine_module, "gpu_names", frozenset)
    theirs = module(GDN_TRITON).TritonGDNKernel
    assert type(load_plugins()) is theirs
    assert len(caplog.records) == 1 and "inactive" in caplog.messages[0]
    assert plugin.VARIABLE in caplog.messages[0]


def test_calls_that_gdn_ops_cannot_serve_run_on_sglangs_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kernel = load_plugins()
    case = PoolCase(T=2, slots=(3, 1), offsets=(0, 1, 2))
    x, pool = case.inputs, case.pool(case.room())
    before, buffer = pool.clone(), torch.zeros(2, 3, *pool.shape[1:])
    where = {
        "ssm_states": pool,
        "cache_indices": x["ssm_state_indices"],
        "query_start_loc": x["cu_seqlens"],
    }
    packed = {n: where[n] for n in ("ssm_states", "cache_indices")}
    packed |= {"scale": 1.0, "num_v_heads": case.HV, "head_v_dim": case.V}
    verify = {
        "intermediate_states_buffer": buffer, "intermediate_state_indices": torch.arange(2),
        "cache_steps": 3, "retrieve_parent_token": None,
    }  # fmt: skip
    qkvab = [x[n] for n in ("q", "k", "v", "a", "b")]
    mixed = torch.cat([x[n].reshape(2, -1) for n in "qkv"], dim=1)

    def check(reason: str, name: str, call: Any) -> None:
        caplog.clear()
        assert [call(), call()] == [(THEIRS, name)] * 2
        (record,) = caplog.records  # said once
        assert reason in record.message
        assert torch.equal(pool, before) and not buffer.any()

    ring = torch.zeros(1)
    check(
        "replayssm_d, replayssm_k is given", "packed decode",
        lambda: kernel.packed_decode(
            mixed, *qkvab[3:], **gates(case), **packed, replayssm_d=ring, replayssm_k=ring
        ),
    )  # fmt: skip
    tree = {**verify, "retrieve_parent_token": torch.zeros(2, 3, dtype=torch.int32)}
    check("draft trees", "verify", lambda: kernel.target_verify(*gates(case).values(), *qkvab, **where, **tree))  # fmt: skip  # noqa: E501
    half = {**verify, "intermediate_states_buffer": buffer.half()}
    check("dtype of ssm_states", "verify", lambda: kernel.target_verify(*gates(case).values(), *qkvab, **where, **half))  # fmt: skip  # noqa: E501
    extend = [*qkvab[:3], -qkvab[3].abs(), qkvab[4].sigmoid()]
    check("several items", "extend", lambda: kernel.extend(*extend, **where, inplace_update=False))
    module(SERVER_ARGS).ARGUMENTS.extra_buffer = True
    check("--disable-radix-cache", "extend", lambda: kernel.extend(*extend, **where))


def prefill(kernel: Any) -> Any:
    q, g = torch.randn(1, 3, 1, 16), -torch.rand(1, 3, 1)
    return kernel.extend(
        q, q, q, g, -g, ssm_states=torch.zeros(2, 1, 16, 16), cache_indices=torch.tensor([1]),
        query_start_loc=torch.tensor([0, 3]),
    )  # fmt: skip


def test_prefill_stays_sglangs_where_the_server_cannot_be_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    del module(SERVER_ARGS).get_global_server_args
    assert prefill(load_plugins()) == (THEIRS, "extend")
    assert "--disable-radix-cache" in caplog.messages[-1]


def test_the_server_is_asked_where_later_releases_keep_its_arguments() -> None:
    arguments = module(SERVER_ARGS).ARGUMENTS
    later = engine_stubs.add_module("sglang.srt.runtime_context", VERSION)
    later.get_server_args = lambda: arguments

    def not_set() -> None:
        raise ValueError("Global server args is not set yet!")

    module(SERVER_ARGS).get_global_server_args = not_set
    o, last, h = prefill(load_plugins())
    assert o.shape == (1, 3, 1, 16) and last is None and h is None
