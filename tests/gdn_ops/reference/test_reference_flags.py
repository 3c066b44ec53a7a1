"""The reference with the ops' arguments: each flag, compared in float64."""

from __future__ import annotations

import math

import pytest
import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.reference import (
    gated_delta_rule_reference,
    l2norm,
    log_decay,
    recurrent_reference,
    write_strength,
)

CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def inputs():
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 9, 2, 12).double().unbind()
    v, state = torch.randn(2, 9, 4, 20).double(), torch.randn(2, 4, 12, 20).double()
    g, beta = -torch.rand(2, 9, 4).double(), torch.rand(2, 9, 4).double()
    return {"q": q, "k": k, "v": v, "g": g, "beta": beta, "initial_state": state}


def test_flags_turn_raw_inputs_into_the_rules():
    arguments = inputs()
    A_log, dt_bias = torch.randn(2, 4).double()
    raw = arguments | {"g": 3 * arguments["g"] + 1, "beta": arguments["beta"] - 1}
    o, final = gated_delta_rule_reference(
        **raw,
        A_log=A_log,
        dt_bias=dt_bias,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
        use_gate_in_kernel=True,
        use_beta_sigmoid_in_kernel=True,
        allow_neg_eigval=True,
    )
    unit = lambda x: x / (x.pow(2).sum(-1, keepdim=True) + 1e-6).sqrt()  # noqa: E731
    gate = -A_log.exp() * torch.log1p((raw["g"] + dt_bias).exp())
    beta = 2 / (1 + (-raw["beta"]).exp())
    prepared = {"q": unit(raw["q"]), "k": unit(raw["k"]), "g": gate, "beta": beta}
    torch.testing.assert_close((o, final), recurrent_reference(**raw | prepared), **CLOSE)
    assert gated_delta_rule_reference(**arguments)[1] is None


FLAGS = ["use_gate_in_kernel", "use_beta_sigmoid_in_kernel", "allow_neg_eigval"]


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_without_its_argument_is_refused(flag):
    arguments = inputs()
    with pytest.raises(InvalidInput, match=flag):
        gated_delta_rule_reference(**arguments | {"beta": None}, **{flag: True})


def test_activations_are_exact_in_float64():
    a = torch.linspace(-60, 60, 241).double()[None, :, None]
    A_log, dt_bias = torch.tensor([0.5]).double(), torch.tensor([-1.0]).double()
    exact = -math.exp(0.5) * torch.logaddexp(a - 1, torch.zeros_like(a))
    torch.testing.assert_close(log_decay(a, A_log, dt_bias), exact, rtol=1e-14, atol=0)
    torch.testing.assert_close(log_decay(a - 1, A_log), exact, rtol=1e-14, atol=0)
    assert l2norm(torch.zeros(4)).eq(0).all()
    torch.testing.assert_close(l2norm(torch.full((4,), 3.0)), torch.full((4,), 0.5))
    assert write_strength(torch.tensor(0.0)) == 0.5
    assert write_strength(torch.tensor(0.0), allow_neg_eigval=True) == 1.0
