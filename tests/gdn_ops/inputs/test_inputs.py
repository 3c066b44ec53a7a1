from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.errors import InvalidInput
from gdn_ops.inputs.recipes import Recipe
from gdn_ops.inputs.rule_inputs import Layout, random_call
from gdn_ops.launch.call import Call
from gdn_ops.reference import log_decay

PROBLEM = Problem(
    op="forward", H=2, HV=4, K=20, V=12, dtype="bf16", tokens=96, sequences=3, initial_state=True
)
PACKED = replace(PROBLEM, varlen=True)
RAW = replace(PROBLEM, gate_in_kernel=True, dt_bias=True)


def tensors(call: Call) -> dict[str, torch.Tensor]:
    values = {f.name: getattr(call, f.name) for f in fields(call)}
    return {name: x for name, x in values.items() if isinstance(x, torch.Tensor)}


def test_a_batch_has_the_shapes_and_dtypes_of_its_problem() -> None:
    call = random_call(PROBLEM)
    assert {name: list(x.shape) for name, x in tensors(call).items()} == {
        "q": [3, 32, 2, 20], "k": [3, 32, 2, 20], "v": [3, 32, 4, 12], "g": [3, 32, 4],
        "beta": [3, 32, 4], "h0": [3, 4, 20, 12],
    }  # fmt: skip
    assert {x.dtype for x in (call.q, call.k, call.v)} == {torch.bfloat16}
    assert {x.dtype for x in (call.g, call.beta, call.h0)} == {torch.float32}
    assert (call.packing, call.A_log, call.dt_bias) == (None, None, None)
    assert call.scale == pytest.approx(20**-0.5)


def test_flags_decide_what_is_given() -> None:
    plain = replace(PROBLEM, initial_state=False, rule=Rule("none", True))
    assert set(tensors(random_call(plain))) == {"q", "k", "v", "beta"}
    assert set(tensors(random_call(RAW))) >= {"g", "A_log", "dt_bias"}
    assert random_call(replace(RAW, dt_bias=False)).dt_bias is None


def test_a_decode_call_is_one_token_a_sequence() -> None:
    decode = replace(PROBLEM, op="decode", tokens=5, sequences=5)
    assert random_call(decode).q.shape == (5, 1, 2, 20)


def test_the_same_seed_gives_the_same_tensors_and_another_seed_others() -> None:
    first, again, other = (tensors(random_call(PROBLEM, seed=s)) for s in (3, 3, 4))
    assert all(torch.equal(x, again[name]) for name, x in first.items())
    assert not any(torch.equal(x, other[name]) for name, x in first.items())


def test_queries_and_keys_are_unit_vectors() -> None:
    call = random_call(replace(PROBLEM, dtype="fp32"))
    for x in (call.q, call.k):
        torch.testing.assert_close(x.norm(dim=-1), torch.ones(3, 32, 2))


def test_correlated_keys_have_their_cosine() -> None:
    problem = replace(PROBLEM, K=256, dtype="fp32", tokens=600)
    k = random_call(problem, recipe=Recipe(cosine=0.33)).k[0, :, 0]
    cosines = (k @ k.T)[~torch.eye(len(k), dtype=torch.bool)]
    assert cosines.mean().item() == pytest.approx(0.33, abs=0.06)
    assert random_call(problem).k[0, :, 0].mean(0).norm() < 0.2


def test_a_models_gates_reach_from_keeping_to_forgetting() -> None:
    g = random_call(replace(PROBLEM, HV=8, tokens=3000)).g
    assert g is not None
    assert g.max() <= 0
    assert (g[..., 0] == 0).all()  # never decays
    assert g[..., -1].mean() < -20  # forgets at once
    middle = g[..., 1:-1].mean((0, 1))
    assert ((middle < 0) & (middle > -5)).all()


def test_gate_recipes_have_their_ranges() -> None:
    gates = {name: random_call(PROBLEM, recipe=Recipe(name)).g for name in ("open", "strong")}
    assert (gates["open"] == 0).all()
    assert gates["strong"].min() >= -1000 and gates["strong"].max() <= -50
    g = random_call(replace(PROBLEM, tokens=3000), recipe=Recipe("resetting")).g[..., :-1]
    assert (g == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (g < -20).float().mean().item() == pytest.approx(1 / 32, abs=0.01)


@pytest.mark.parametrize("gate", ["model", "open", "strong", "resetting"])
@pytest.mark.parametrize("bias", [True, False])
def test_a_raw_gate_means_the_same_log_decay(gate: str, bias: bool) -> None:
    raw = random_call(replace(RAW, dt_bias=bias), recipe=Recipe(gate))
    decay = log_decay(raw.g, raw.A_log, raw.dt_bias)
    torch.testing.assert_close(decay, random_call(PROBLEM, recipe=Recipe(gate)).g)


def test_writing_strengths_have_their_ranges() -> None:
    beta = random_call(PROBLEM).beta
    assert beta.min() > 0 and beta.max() < 1 and beta.std() > 0.1
    beta = random_call(PROBLEM, recipe=Recipe(beta="near two")).beta
    assert beta.min() >= 1.9 and beta.max() <= 2


@given(st.integers(1, 40), st.integers(0, 200), st.integers(0, 5))
def test_packed_sequences_are_cut_anywhere_but_never_empty(n: int, more: int, seed: int) -> None:
    problem = replace(PACKED, sequences=n, tokens=n + more)
    layout = Layout.of(problem, seed=seed)
    assert len(layout.lengths) == n
    assert sum(layout.lengths) == n + more
    assert min(layout.lengths) >= 1
    assert layout == Layout.of(problem, seed=seed)


def test_a_packed_call_says_where_its_sequences_begin() -> None:
    call = random_call(PACKED, layout=Layout((4, 0, 3), tail=2))
    assert call.q.shape[:2] == (1, 9)
    assert call.h0.shape[0] == 3
    assert call.packing.offsets == (0, 4, 4, 7)
    assert call.packing.cu_seqlens.tolist() == [0, 4, 4, 7]


def test_layouts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"\(4, 3\) tokens.*are not a batch"):
        random_call(PROBLEM, layout=Layout((4, 3)))
    with pytest.raises(InvalidInput, match="2 unused tokens"):
        random_call(PROBLEM, layout=Layout((4, 4), tail=2))
    with pytest.raises(InvalidInput, match="2 tokens for 3 packed sequences"):
        random_call(replace(PACKED, tokens=2))


@pytest.mark.parametrize("gate", ["none", "scalar"])
def test_a_rule_without_the_delta_has_no_beta(gate: str) -> None:
    call = random_call(replace(PROBLEM, rule=Rule(gate, False)))
    assert call.beta is None
    assert (call.g is None) == (gate == "none")
    with_delta = random_call(replace(PROBLEM, rule=Rule(gate, True)))
    assert torch.equal(call.q, with_delta.q) and torch.equal(call.v, with_delta.v)
