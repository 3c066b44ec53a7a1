"""Layers of flash-linear-attention and models of transformers prefill and train on gdn_ops.

Their code is not changed. On a machine without a GPU they cannot run on flash-linear-attention
alone, whose kernels are in Triton.
"""

from __future__ import annotations

import importlib
import importlib.util

import pytest
import torch

from gdn_ops.integrations import fla as integration
from gdn_ops.integrations.fla import use_gdn_ops
from gdn_ops.integrations.transformers import use_gdn_ops as use_gdn_ops_in_model
from gdn_ops.layers import GatedRMSNorm
from gdn_ops.reference import bounded_log_decay, gated_delta_rule_reference
from tests.gdn_ops.integrations.test_fla import guide
from tests.gdn_ops.integrations.test_transformers import MODELS

if importlib.util.find_spec("fla") is None:
    pytest.skip("flash-linear-attention is not installed", allow_module_level=True)
if torch.cuda.is_available():
    pytest.skip("with a GPU the layers run without gdn_ops too", allow_module_level=True)

NO_GPU = "active drivers"
"""In Triton's message when it is to choose a config for a kernel and there is no GPU."""


@pytest.fixture(autouse=True)
def taken_back():
    yield
    for bridges in integration._REGISTERED.values():
        for bridge in bridges.values():
            bridge.active = False


def reference(name):
    """Return the reference with the arguments of a layer's call."""

    def run(*, safe_gate=False, lower_bound=None, state_v_first=False, initial_state=None, **call):
        assert initial_state is None
        if name == "chunk_kda":
            call["A_log"], bias = call["A_log"].flatten(), call["dt_bias"]
            call["dt_bias"] = None if bias is None else bias.view(call["v"].shape[2], -1)
        if lower_bound is not None:
            call["g"] = bounded_log_decay(
                call["g"].float(), call.pop("A_log"), call.pop("dt_bias"), lower_bound
            )
            call["use_gate_in_kernel"] = False
        o, state = gated_delta_rule_reference(**call)
        return o, state.mT if state_v_first and state is not None else state

    return run


LAYERS = {
    "GatedDeltaNet": ("gated_deltanet", "chunk_gated_delta_rule", {"num_v_heads": 4}),
    "KimiDeltaAttention": ("kda", "chunk_kda", {"num_v_heads": 2}),
    "KimiDeltaAttention, bounded": ("kda", "chunk_kda", {"safe_gate": True, "lower_bound": -5.0}),
}


@pytest.mark.parametrize("neg_eigval", [False, True])
@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_of_the_engine_trains(monkeypatch, case, neg_eigval):
    module, rule, sizes = LAYERS[case]
    namespace = importlib.import_module(f"fla.layers.{module}")
    torch.manual_seed(0)
    layer = getattr(namespace, case.split(",")[0])(
        hidden_size=32, head_dim=16, num_heads=2, expand_v=1.5, use_short_conv=False,
        allow_neg_eigval=neg_eigval, **sizes,
    )  # fmt: skip
    # Its norm is a Triton kernel too; this one has the same weight and computes the same.
    layer.o_norm = GatedRMSNorm(layer.head_v_dim, eps=1e-5, activation=layer.o_norm.activation)
    x = torch.randn(2, 70, 32)
    mask = torch.ones(2, 70, dtype=torch.long)
    mask[0, :9] = 0

    def step():
        layer.zero_grad()
        y = layer(x, attention_mask=mask)[0]
        y.square().sum().backward()
        return y.detach(), {n: p.grad for n, p in layer.named_parameters()}

    with pytest.raises(RuntimeError, match=NO_GPU):
        step()
    with use_gdn_ops():
        y, gradients = step()
    with pytest.raises(RuntimeError, match=NO_GPU):
        step()
    monkeypatch.setattr(namespace, rule, reference(rule))
    expected, expected_gradients = step()
    assert expected.std() > 0.01
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)
    for n, gradient in expected_gradients.items():
        assert gradient.norm() > 0, n
        assert (gradients[n] - gradient).norm() <= 1e-4 * gradient.norm(), n


@pytest.fixture(params=MODELS)
def model(request):
    transformers = importlib.import_module("transformers")
    config, model_class, sizes = MODELS[request.param]
    torch.manual_seed(0)
    return getattr(transformers, model_class)(getattr(transformers, config)(**sizes))


def own_rule(model, monkeypatch):
    """Run the model on the rule in plain PyTorch that transformers has for machines without FLA."""
    namespace = importlib.import_module(type(model).__module__)
    for name in ("torch_chunk_gated_delta_rule", "torch_recurrent_gated_delta_rule"):
        if not hasattr(getattr(namespace, name, None), "__wrapped__"):
            pytest.skip("this transformers does not choose the rule per function")
        monkeypatch.setattr(namespace, name, getattr(namespace, name).__wrapped__)


def test_a_model_of_transformers_trains(model, monkeypatch):
    tokens = torch.randint(97, (2, 70))

    def step():
        model.zero_grad()
        result = model(tokens, labels=tokens)
        result.loss.backward()
        return result.logits.detach(), {n: p.grad for n, p in model.named_parameters()}

    with pytest.raises(RuntimeError, match=NO_GPU):
        step()
    with use_gdn_ops():
        logits, gradients = step()
    with pytest.raises(RuntimeError, match=NO_GPU):
        step()
    own_rule(model, monkeypatch)
    expected, expected_gradients = step()
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    for n, gradient in expected_gradients.items():
        if gradient is not None:
            assert (gradients[n] - gradient).norm() <= 1e-2 * gradient.norm() + 1e-6, n


@torch.no_grad()
def test_prefill_fills_the_cache_from_which_the_model_decodes(model, monkeypatch):
    """Decoding calls a function that FLA offers to no backend; the model's own swap covers it."""
    model.eval()
    tokens = torch.randint(97, (2, 71))
    with use_gdn_ops():
        cache = model(tokens[:, :70], use_cache=True).past_key_values
        with use_gdn_ops_in_model(model):
            actual = model(tokens[:, 70:], past_key_values=cache, use_cache=True).logits
    own_rule(model, monkeypatch)
    torch.testing.assert_close(actual, model(tokens).logits[:, 70:], rtol=0, atol=1e-4)


def test_the_guide_runs():
    code, _ = guide("with flash-linear-attention and transformers")
    scope = {}
    exec(code, scope)
    gates = [p.grad for n, p in scope["model"].named_parameters() if n.endswith("A_log")]
    assert gates
    assert all(gradient.norm() > 0 for gradient in gates)
