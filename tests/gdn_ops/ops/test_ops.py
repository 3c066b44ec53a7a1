"""The public functions on every plan against the fp64 recurrence, and the input they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.variant import Variant
from gdn_ops.errors import InvalidInput, LaunchError, UnsupportedProblem
from gdn_ops.launch.bind import bind
from tests.close import assert_close
from tests.gdn_ops.ops.calls import call, expected

PLANS = ("torch", "split", "fused", "fused1", "recurrent")
CASES: dict[str, dict[str, Any]] = {
    "ragged": {"T": 21},
    "one chunk and a token": {"T": 65, "B": 1, "HV": 2},
    "no gate": {"gate": "none", "B": 1},
    "never decays": {"gate": "zero", "B": 1},
    "decays at once": {"gate": "strong", "B": 1},
    "odd head dims": {"K": 60, "V": 20, "T": 21, "B": 1},
    "packed": {"B": 1, "T": 80, "HV": 2, "offsets": [0, 5, 5, 70, 80]},
    "packed with padding": {"B": 1, "T": 40, "offsets": [0, 33]},
    "no state": {"state": False, "T": 20},
    "half precision": {"dtype": torch.float16, "B": 1},
    "bf16": {"dtype": torch.bfloat16, "B": 1},
}


def interpreted(plan: str) -> Any:
    """A plan of Triton kernels, as a parameter."""
    return pytest.param(plan, marks=pytest.mark.triton)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("plan", ["torch", *map(interpreted, PLANS[1:])])
def test_every_plan_computes_the_rule(plan: str, name: str) -> None:
    arguments = call(**CASES[name])
    o_ref, ht_ref = expected(arguments)
    with gdn_ops.using(plan), torch.no_grad():
        o, ht = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert ht is not None and ht.dtype == torch.float32 and o.dtype == arguments["q"].dtype
    bar = 1e-5 if o.dtype == torch.float32 else 5e-3
    end = o.shape[1] if arguments["cu_seqlens"] is None else int(arguments["cu_seqlens"][-1])
    assert_close("o", o_ref[:, :end], o[:, :end], bar)
    assert_close("final state", ht_ref, ht, bar)


@pytest.mark.parametrize("plan", ("torch", "recurrent"))
def test_decode_continues_where_prefill_ended(plan: str) -> None:
    whole = call(T=6, state=False)
    o_ref, ht_ref = expected(whole)
    state = None
    for t in range(6):
        token = {n: whole[n][:, t : t + 1] for n in ("q", "k", "v", "g", "beta")}
        with gdn_ops.using(plan), torch.no_grad():
            o, state = gdn_ops.fused_recurrent_gated_delta_rule(
                **token, initial_state=state, output_final_state=True
            )
        assert_close(f"o of token {t}", o_ref[:, t : t + 1], o, 1e-5)
    assert state is not None
    assert_close("final state", ht_ref, state, 1e-5)


def test_flags_equal_the_explicit_computation() -> None:
    """Norms, sigmoids, raw gates and V-first states equal an explicit computation."""
    base = call(T=19)
    raw, A_log, dt_bias = torch.randn(2, 19, 4), torch.randn(4), torch.randn(4)
    b = torch.randn(2, 19, 4)
    by_hand = base | {
        "q": base["q"] * 3 / torch.sqrt((base["q"] * 3).square().sum(-1, keepdim=True) + 1e-6),
        "k": base["k"] * 3 / torch.sqrt((base["k"] * 3).square().sum(-1, keepdim=True) + 1e-6),
        "g": -A_log.exp() * torch.nn.functional.softplus(raw + dt_bias),
        "beta": 2 * b.sigmoid(),
    }
    o_ref, ht_ref = expected(by_hand)
    flagged = base | {
        "q": base["q"] * 3, "k": base["k"] * 3, "g": raw, "beta": b,
        "initial_state": base["initial_state"].transpose(-1, -2).contiguous(),
    }  # fmt: skip
    o, ht = gdn_ops.chunk_gated_delta_rule(
        **flagged, use_qk_l2norm_in_kernel=True, use_gate_in_kernel=True, A_log=A_log,
        dt_bias=dt_bias, use_beta_sigmoid_in_kernel=True, allow_neg_eigval=True, state_v_first=True,
    )  # fmt: skip
    assert ht is not None
    assert_close("o", o_ref, o, 1e-5)
    assert_close("final state", ht_ref.transpose(-1, -2), ht, 1e-5)


@pytest.mark.parametrize("plan", PLANS)
def test_padding_after_the_last_sequence_is_zero(plan: str) -> None:
    arguments = call(B=1, T=40, offsets=[0, 20, 33])
    with gdn_ops.using(plan), torch.no_grad():
        o, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert torch.equal(o[:, 33:], torch.zeros_like(o[:, 33:]))


@pytest.mark.parametrize("plan", PLANS)
def test_an_infinite_decay_forgets(plan: str) -> None:
    arguments = call(B=1, T=40)
    arguments["g"][:, 17] = float("-inf")
    o_ref, ht_ref = expected(arguments)
    with gdn_ops.using(plan), torch.no_grad():
        o, ht = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert ht is not None
    assert_close("o", o_ref, o, 1e-5)
    assert_close("final state", ht_ref, ht, 1e-5)


def test_inputs_are_not_written() -> None:
    arguments = call(T=70)
    before = {n: x.clone() for n, x in arguments.items() if isinstance(x, torch.Tensor)}
    with torch.no_grad():
        gdn_ops.chunk_gated_delta_rule(**arguments)
    for name, x in before.items():
        assert torch.equal(arguments[name], x), name


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "v rank": ({"v": torch.randn(2, 37, 32)}, InvalidInput, r"v has shape \[2, 37, 32\]; it must"),
    "k shape": ({"k": torch.randn(2, 36, 2, 16)}, InvalidInput, r"k has shape .*36.*must be equal"),
    "HV": ({"v": torch.randn(2, 37, 3, 32)}, InvalidInput, "HV=3 value heads.*multiple of H=2"),
    "g shape": ({"g": -torch.rand(2, 4, 37)}, InvalidInput, r"g has shape .*\[B, T, HV\] = \[2"),
    "mixed dtypes": ({"v": torch.randn(2, 37, 4, 32).half()}, InvalidInput, "v is torch.float16"),
    "integers": ({"beta": torch.ones(2, 37, 4).int()}, InvalidInput, "beta is torch.int32"),
    "mixed devices": ({"v": torch.empty(2, 37, 4, 32, device="meta")}, InvalidInput, "v is on"),
    "wide head": (
        {"q": torch.randn(2, 37, 2, 300), "k": torch.randn(2, 37, 2, 300), "initial_state": None},
        InvalidInput, r"head dim K=300 is outside 1\.\.256",
    ),
    "not a tensor": ({"q": [1.0]}, InvalidInput, "q is a list; give a torch.Tensor"),
    "state": ({"initial_state": torch.randn(1, 4, 16, 32)}, InvalidInput, r"= \[2, 4, 16, 32\]"),
    "rows with cu_seqlens": ({"cu_seqlens": torch.tensor([0, 37])}, InvalidInput, "B=2 rows.*B=1"),
    "raw gate without A_log": ({"use_gate_in_kernel": True}, InvalidInput, "A_log is None"),
    "neg eigval alone": ({"allow_neg_eigval": True}, InvalidInput, "use_beta_sigmoid_in_kernel"),
    "chunk size": ({"chunk_size": 48}, InvalidInput, "chunk_size=48"),
    "head_first": ({"head_first": True}, InvalidInput, "head_first is no longer supported"),
    "context parallel": ({"cp_context": object()}, UnsupportedProblem, "cp_context"),
    "unknown": ({"use_magic": True}, TypeError, "use_magic"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_invalid_input_is_refused(name: str) -> None:
    change, error, text = BAD[name]
    with pytest.raises(error, match=text):
        gdn_ops.chunk_gated_delta_rule(**(call() | change))


@pytest.mark.parametrize(
    ("offsets", "text"),
    [
        ([0, 30, 20, 40], "decreases from 30 to 20 at sequence 1"),
        ([1, 40], "starts at 1"),
        ([0, 41], "ends at 41 and q has T=40"),
        ([0], r"shape \[1\]"),
    ],
)
def test_bad_offsets_are_refused(offsets: list[int], text: str) -> None:
    arguments = call(B=1, T=40, state=False) | {"cu_seqlens": torch.tensor(offsets)}
    with pytest.raises(InvalidInput, match=text):
        gdn_ops.chunk_gated_delta_rule(**arguments)


CHANGES: dict[str, Callable[[torch.Tensor], None]] = {
    "itself": lambda offsets: offsets.__setitem__(1, 25),
    "numpy": lambda offsets: offsets.numpy().__setitem__(1, 25),
    "data": lambda offsets: offsets.data.__setitem__(1, 25),
}


@pytest.mark.parametrize(
    ("through", "plan"),
    [*((through, "torch") for through in CHANGES), *(("data", plan) for plan in PLANS[1:])],
)
def test_offsets_changed_in_place_are_read_again(through: str, plan: str) -> None:
    offsets = torch.tensor([0, 10, 40], dtype=torch.int32)
    arguments = call(B=1, T=40, H=1, HV=1, offsets=[0, 10, 40]) | {"cu_seqlens": offsets}
    with torch.no_grad(), gdn_ops.using(plan):
        gdn_ops.chunk_gated_delta_rule(**arguments)
        CHANGES[through](offsets)
        o, ht = gdn_ops.chunk_gated_delta_rule(**arguments)
    o_ref, ht_ref = expected(arguments)
    assert ht is not None
    assert_close("o", o_ref, o, 1e-5)
    assert_close("final state", ht_ref, ht, 1e-5)


def test_autocast_changes_nothing() -> None:
    arguments = call(T=70)
    with torch.no_grad():
        o, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
    assert torch.equal(o, inside)


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (torch.tensor([0, 20, 40]), r"cu_seqlens_cpu\[1\] is 20 and cu_seqlens\[1\] is 10"),
        (torch.tensor([0, 40]), "cu_seqlens_cpu has 2 offsets and cu_seqlens 3"),
        (torch.tensor([0.0, 10.0, 40.0]), "cu_seqlens_cpu is torch.float32"),
        (torch.tensor([[0, 10, 40]]), r"cu_seqlens_cpu has shape \[1, 3\]"),
        (40, "cu_seqlens_cpu=40 is not a list of integers"),
        (["0", "10", "40"], "is not a list of integers"),
    ],
)
@pytest.mark.parametrize("remembered", (False, True))
def test_a_wrong_host_copy_of_the_offsets_is_refused_on_the_cpu(
    remembered: bool, host: Any, text: str
) -> None:
    arguments = call(B=1, T=40, offsets=[0, 10, 40])
    with torch.no_grad():
        if remembered:
            gdn_ops.chunk_gated_delta_rule(**arguments, cu_seqlens_cpu=[0, 10, 40])
        with pytest.raises(InvalidInput, match=text):
            gdn_ops.chunk_gated_delta_rule(**arguments, cu_seqlens_cpu=host)


def test_more_chunks_than_the_grid_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdn_ops.launch.stage_launcher.MOST_PROGRAMS", 1)
    with (
        gdn_ops.using("split"),
        torch.no_grad(),
        pytest.raises(LaunchError, match="2 programs in a grid dimension that is limited to 1"),
    ):
        gdn_ops.chunk_gated_delta_rule(**call(B=1, T=70))


def test_reduced_fp32_products_are_not_used() -> None:
    arguments = call(B=1, T=70)
    with torch.no_grad():
        o, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
        torch.set_float32_matmul_precision("medium")
        try:
            inside, _ = gdn_ops.chunk_gated_delta_rule(**arguments)
            assert torch.get_float32_matmul_precision() == "medium"
        finally:
            torch.set_float32_matmul_precision("highest")
    assert torch.equal(o, inside)


def test_tensors_are_freed_after_their_last_reader() -> None:
    problem = gdn_ops.explain(**call(B=1, T=20)).choice.problem.backward(final_state=True)
    launcher = bind(problem, Variant.default("split", problem), interpret=True)
    dead = {stage.name: names for stage, names in launcher.steps()}
    assert dead["chunk_h"] == ["u"] and {"w", "dv_local"} <= set(dead["bwd_dh"])
    assert {"A", "h", "v_new", "dh", "dv_new"} <= set(dead["bwd_dqkvg"])
    gone = {name for names in dead.values() for name in names}
    assert not gone.intersection(("dq", "dk", "dv", "dg", "dbeta", "dh0"))
