"""The references against an independent implementation, each other, and in edge cases."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.errors import InvalidInput
from gdn_ops.reference import chunkwise_reference, recurrent_reference

GATES = ("none", "scalar", "vector")
RULES = [pytest.param(g, d, id=f"{g}-{'delta' if d else 'linear'}") for g in GATES for d in (1, 0)]
FORMS = [recurrent_reference, chunkwise_reference]
SHAPES = {
    "ragged": {"B": 2, "T": 70, "H": 2, "HV": 2, "K": 12, "V": 20},
    "group": {"B": 1, "T": 64, "H": 2, "HV": 6, "K": 20, "V": 12},
    "short": {"B": 2, "T": 3, "H": 1, "HV": 2, "K": 8, "V": 4},
    "packed": {
        "B": 1,
        "T": 137,
        "H": 2,
        "HV": 4,
        "K": 12,
        "V": 8,
        "cu": [0, 0, 15, 15, 80, 137, 137],
    },
}
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def inputs(gate, delta, size, *, dtype=torch.float64, strong=False):
    """Random inputs of a rule: normalised keys, beta up to 2, weak gates or from 0 to -inf."""
    B, T, H, HV, K, V = (size[n] for n in ("B", "T", "H", "HV", "K", "V"))
    cu = size.get("cu")
    rng = torch.Generator().manual_seed(0)
    randn = lambda *s: torch.randn(*s, generator=rng, dtype=torch.float64)  # noqa: E731
    rand = lambda *s: torch.rand(*s, generator=rng, dtype=torch.float64)  # noqa: E731
    g = None
    if gate != "none":
        g = -rand(B, T, HV, *([K] if gate == "vector" else [])) / 4
        if strong:
            g = -torch.randint(0, 3, g.shape, generator=rng).double() * 5e3 * rand(*g.shape)
            g[:, ::7] = 0
            g[:, 5::11] = -math.inf
    tensors = {
        "q": randn(B, T, H, K),
        "k": F.normalize(randn(B, T, H, K), dim=-1),
        "v": randn(B, T, HV, V),
        "g": g,
        "beta": 2 * rand(B, T, HV) if delta else None,
        "initial_state": randn(B if cu is None else len(cu) - 1, HV, K, V),
    }
    tensors = {n: None if x is None else x.to(dtype) for n, x in tensors.items()}
    cu_seqlens = None if cu is None else torch.tensor(cu)
    return dict(tensors, delta=bool(delta), cu_seqlens=cu_seqlens)


def oracle(q, k, v, g, beta, initial_state, *, delta, cu_seqlens=None):
    """Compute one head and one token at a time, with the explicit transition matrix."""
    B, T, HV, _ = v.shape
    H, K = k.shape[2:]
    cu = [0, T] if cu_seqlens is None else cu_seqlens.tolist()
    spans = [(b, s, e) for b in range(B) for s, e in pairwise(cu)]
    o, final = torch.zeros_like(v), initial_state.clone()
    for n, (b, bos, eos) in enumerate(spans):
        for head in range(HV):
            key_head = head // (HV // H)
            for t in range(bos, eos):
                k_t, v_t, q_t = k[b, t, key_head], v[b, t, head], q[b, t, key_head]
                alpha = torch.ones(K).double() if g is None else g[b, t, head].exp().expand(K)
                beta_t = beta[b, t, head] if delta else 1.0
                erase = torch.eye(K).double() - (beta_t * torch.outer(k_t, k_t) if delta else 0)
                S = erase @ torch.diag(alpha) @ final[n, head] + beta_t * torch.outer(k_t, v_t)
                final[n, head] = S
                o[b, t, head] = K**-0.5 * (q_t @ S)
    return o, final


def with_gradients(form, arguments):
    """Return the outputs of a form and the gradients of a random projection of them, by name."""
    arguments = {
        n: x.detach().requires_grad_() if torch.is_tensor(x) and x.is_floating_point() else x
        for n, x in arguments.items()
    }
    leaves = {n: x for n, x in arguments.items() if torch.is_tensor(x) and x.requires_grad}
    o, final = form(**arguments)
    rng = torch.Generator().manual_seed(1)
    loss = sum((x * torch.randn(x.shape, generator=rng, dtype=x.dtype)).sum() for x in (o, final))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"o": o, "ht": final, **dict(zip(leaves, gradients, strict=True))}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("gate", "delta"), RULES)
def test_forms_equal_the_written_out_recurrence(form, shape, gate, delta):
    size = SHAPES[shape] | ({"T": 21} if SHAPES[shape]["T"] == 70 else {})
    arguments = inputs(gate, delta, size)
    o, final = form(**arguments)
    expected_o, expected_final = oracle(**arguments)
    torch.testing.assert_close(o, expected_o, **CLOSE)
    torch.testing.assert_close(final, expected_final, **CLOSE)


@pytest.mark.parametrize("strong", [False, True], ids=["weak", "strong"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("gate", "delta"), RULES)
def test_forms_agree_in_outputs_states_and_gradients(shape, gate, delta, strong):
    arguments = inputs(gate, delta, SHAPES[shape], strong=strong)
    expected = with_gradients(recurrent_reference, arguments)
    for name, x in with_gradients(chunkwise_reference, arguments).items():
        assert torch.isfinite(x).all(), name
        torch.testing.assert_close(x, expected[name], **CLOSE, msg=lambda m, n=name: f"{n}: {m}")


@given(
    rule=st.sampled_from([(g, d) for g in GATES for d in (1, 0)]),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    group=st.integers(1, 3),
    K=st.integers(1, 20),
    V=st.integers(1, 20),
    chunk_size=st.integers(1, 48),
    strong=st.booleans(),
)
def test_forms_agree_for_any_sizes(rule, lengths, group, K, V, chunk_size, strong):
    cu = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    size = {"B": 1, "T": cu[-1], "H": 2, "HV": 2 * group, "K": K, "V": V, "cu": cu}
    arguments = inputs(*rule, size, strong=strong)
    expected = recurrent_reference(**arguments)
    actual = chunkwise_reference(**arguments, chunk_size=chunk_size)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("gate", "delta"), RULES)
def test_strong_decay_keeps_float32_digits(gate, delta):
    """A difference of cumulative sums would lose about three digits after a decay of -1e4."""
    arguments = inputs(gate, delta, {"B": 1, "T": 64, "H": 1, "HV": 2, "K": 16, "V": 16})
    if gate != "none":
        arguments["g"][:, 8] = -1e4
    o, final = chunkwise_reference(**arguments, dtype=torch.float32)
    expected_o, expected_final = recurrent_reference(**arguments)
    torch.testing.assert_close(o.double(), expected_o, rtol=0, atol=5e-6)
    torch.testing.assert_close(final.double(), expected_final, rtol=0, atol=5e-6)


@pytest.mark.parametrize(("gate", "delta"), RULES)
def test_gradients_are_those_of_the_function(gate, delta):
    arguments = inputs(gate, delta, {"B": 1, "T": 3, "H": 1, "HV": 2, "K": 3, "V": 2})
    names = [n for n in ("q", "k", "v", "g", "beta", "initial_state") if arguments[n] is not None]
    leaves = [arguments.pop(n).requires_grad_() for n in names]

    def call(*tensors):
        given_tensors = dict(zip(names, tensors, strict=True))
        return recurrent_reference(**{"g": None, "beta": None} | arguments | given_tensors)

    assert torch.autograd.gradcheck(call, leaves)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("gate", "delta"), RULES)
def test_a_state_carries_a_sequence_across_calls(form, gate, delta):
    arguments = inputs(gate, delta, SHAPES["ragged"])
    o, final = form(**arguments)
    state, parts = arguments["initial_state"], []
    for cut in (slice(0, 33), slice(33, 34), slice(34, 34), slice(34, 70)):
        part = {
            n: arguments[n][:, cut]
            for n in ("q", "k", "v", "g", "beta")
            if arguments[n] is not None
        }
        o_part, state = form(**part, delta=bool(delta), initial_state=state)
        parts.append(o_part)
    torch.testing.assert_close(torch.cat(parts, dim=1), o, **CLOSE)
    torch.testing.assert_close(state, final, **CLOSE)


@pytest.mark.parametrize("form", FORMS)
def test_tokens_outside_packed_sequences_are_ignored(form):
    arguments = inputs("scalar", 1, SHAPES["packed"] | {"cu": [3, 3, 40, 100]})
    clean, _ = form(**arguments)
    for name in ("q", "k", "v", "g", "beta"):
        arguments[name][:, :3] = math.nan
        arguments[name][:, 100:] = math.nan
    o, final = form(**arguments)
    torch.testing.assert_close(o[:, 3:100], clean[:, 3:100], **CLOSE)
    assert o[:, :3].eq(0).all()
    assert o[:, 100:].eq(0).all()
    assert torch.isfinite(final).all()
    assert torch.equal(final[0], arguments["initial_state"][0])


@pytest.mark.parametrize("form", FORMS)
def test_defaults(form):
    arguments = inputs("scalar", 1, SHAPES["ragged"])
    del arguments["initial_state"]
    q, v = arguments["q"], arguments["v"]
    ones, zeros = torch.ones_like(v[..., 0]), torch.zeros(2, 2, 12, 20).double()
    expected = form(**arguments | {"beta": ones, "scale": 12**-0.5, "initial_state": zeros})
    torch.testing.assert_close(form(**arguments | {"beta": None}), expected, **CLOSE)
    doubled = form(**arguments | {"q": 2 * q, "beta": None, "scale": 0.5 * 12**-0.5})
    torch.testing.assert_close(doubled, expected, **CLOSE)


@pytest.mark.parametrize("form", FORMS)
def test_computing_dtype(form):
    arguments = inputs("scalar", 1, SHAPES["ragged"], dtype=torch.bfloat16)
    o, final = form(**arguments)
    assert (o.dtype, final.dtype) == (torch.float32, torch.float32)
    wide, wide_final = form(**arguments, dtype=torch.float64)
    assert (wide.dtype, wide_final.dtype) == (torch.float64, torch.float64)
    torch.testing.assert_close(o.double(), wide, rtol=0, atol=1e-5)


BAD = {
    "heads": ({"v": torch.zeros(1, 4, 3, 8)}, "multiple of H"),
    "keys": ({"k": torch.zeros(1, 4, 2, 7)}, "not \\[B, T, H, K\\]"),
    "gate": ({"g": torch.zeros(1, 4, 2)}, "g \\(1, 4, 2\\)"),
    "beta": ({"beta": torch.zeros(1, 4, 4, 1)}, "beta \\(1, 4, 4, 1\\)"),
    "beta-linear": ({"delta": False}, "delta=False"),
    "state": ({"initial_state": torch.zeros(1, 4, 8, 6)}, "initial_state \\(1, 4, 8, 6\\)"),
    "order": ({"cu_seqlens": torch.tensor([0, 3, 2, 4])}, "non-decreasing"),
    "range": ({"cu_seqlens": torch.tensor([0, 5])}, "within 0..4"),
    "none": ({"cu_seqlens": torch.tensor([0])}, "non-decreasing"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", BAD)
def test_wrong_shapes_are_refused(form, case):
    change, message = BAD[case]
    good = {
        "q": torch.zeros(1, 4, 2, 6),
        "k": torch.zeros(1, 4, 2, 6),
        "v": torch.zeros(1, 4, 4, 8),
        "g": torch.zeros(1, 4, 4),
        "beta": torch.zeros(1, 4, 4),
    }
    with pytest.raises(InvalidInput, match=message):
        form(**good | change)


def test_packed_calls_have_one_row():
    arguments = inputs("scalar", 1, SHAPES["ragged"])
    with pytest.raises(InvalidInput, match="batch size 2 with cu_seqlens"):
        recurrent_reference(**arguments | {"cu_seqlens": torch.tensor([0, 70])})
