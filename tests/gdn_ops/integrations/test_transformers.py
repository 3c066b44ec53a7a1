"""transformers models produce the same logits with gdn_ops as with their own functions."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch
from torch import nn

import gdn_ops
from gdn_ops.errors import InvalidInput
from gdn_ops.integrations import hub_layers
from gdn_ops.integrations import transformers as integration
from gdn_ops.integrations.transformers import use_gdn_ops
from gdn_ops.layers import GatedDeltaNet
from gdn_ops.reference import chunkwise_reference, gated_delta_rule_reference, recurrent_reference

pytest.importorskip("transformers")

TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 24,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "initializer_range": 0.1,  # with more, rounding in float32 grows through the layers
}
EXPERTS = {
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "num_experts": 4,
    "num_experts_per_tok": 2,
}
MODELS = {
    "qwen3_next": ("Qwen3NextConfig", "Qwen3NextForCausalLM", TINY | EXPERTS),
    "qwen3_5": ("Qwen3_5TextConfig", "Qwen3_5ForCausalLM", TINY),
    "qwen3_5_moe": ("Qwen3_5MoeTextConfig", "Qwen3_5MoeForCausalLM", TINY | EXPERTS),
}
OPS = ["chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"]


@pytest.fixture(params=MODELS)
def model(request):
    transformers = importlib.import_module("transformers")
    config, model_class, sizes = MODELS[request.param]
    if not hasattr(transformers, model_class):
        pytest.skip(f"this transformers has no {model_class}")
    torch.manual_seed(0)
    return getattr(transformers, model_class)(getattr(transformers, config)(**sizes)).eval()


@pytest.fixture(params=["reference", "dispatch"])
def calls(request, monkeypatch):
    """Record the names of our ops when the model calls them; also run them on the reference."""
    names = []

    def spied(name):
        op = getattr(integration, name)
        if request.param == "reference":
            op = gated_delta_rule_reference

        def spy(*args, **kwargs):
            names.append(name)
            return op(*args, **kwargs)

        return spy

    for name in OPS:
        monkeypatch.setattr(integration, name, spied(name))
    return names


def logits_of(model, tokens, *, prefill):
    """Return the logits of one pass, and of a prefill followed by single tokens with the cache."""
    whole = model(tokens).logits
    step = model(tokens[:, :prefill], use_cache=True)
    pieces = [step.logits]
    for t in range(prefill, tokens.shape[1]):
        cache = step.past_key_values
        step = model(tokens[:, t : t + 1], past_key_values=cache, use_cache=True)
        pieces.append(step.logits)
    return whole, torch.cat(pieces, dim=1)


@torch.no_grad()
def test_logits_do_not_change_in_prefill_and_decode(model, calls):
    tokens = torch.randint(97, (2, 76))
    expected = logits_of(model, tokens, prefill=70)
    assert calls == []
    with use_gdn_ops(model):
        actual = logits_of(model, tokens, prefill=70)
    assert calls == 3 * OPS[:1] + 3 * OPS[:1] + 6 * 3 * OPS[1:]
    assert expected[0].std() > 0.1
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert torch.equal(model(tokens).logits, expected[0])
    assert len(calls) == 24


@torch.no_grad()
def test_generation_does_not_change(model, calls):
    tokens = torch.randint(97, (2, 9))
    mask = torch.ones_like(tokens)
    mask[0, :4] = 0
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(tokens, **options)
    swap = use_gdn_ops(model)
    assert torch.equal(model.generate(tokens, **options), expected)
    swap.restore()
    swap.restore()
    assert set(calls) == set(OPS)
    before = len(calls)
    model(tokens)
    assert len(calls) == before


@torch.no_grad()
def test_a_model_poses_the_problems_that_are_foretold(model, tmp_path):
    foretold = gdn_ops.explain(model, lengths=[70], batches=[1])
    with use_gdn_ops(model), gdn_ops.recording(tmp_path / "calls.json") as recorder:
        step = model(torch.randint(97, (1, 70)), use_cache=True)
        token = torch.randint(97, (1, 1))
        model(token, past_key_values=step.past_key_values, use_cache=True)
    assert recorder.counts == {row.problem.bucket(): 3 for row in foretold.rows}


@torch.no_grad()
def test_the_swapped_rule_is_what_the_logits_come_from(model, monkeypatch):
    """A wrong op must change the logits, or the test above could not fail."""
    tokens = torch.randint(97, (1, 20))
    expected = model(tokens).logits

    def wrong(q, k, v, g, beta, **options):
        return gated_delta_rule_reference(q, k, v, g, 1.01 * beta, **options)

    monkeypatch.setattr(integration, "chunk_gated_delta_rule", wrong)
    with use_gdn_ops(model):
        assert (model(tokens).logits - expected).abs().max() > 1e-3


@pytest.mark.parametrize("batch", [1, 3])
def test_views_of_the_convolution_are_laid_out_in_rows_unless_autograd_keeps_them(batch):
    mixed = torch.randn(batch, 24, 9).transpose(1, 2)
    x = mixed[..., 8:].reshape(batch, 9, 2, 8)
    assert x.stride(-1) != 1
    rows = integration._rows(x)
    assert rows.is_contiguous() and torch.equal(rows, x)
    assert integration._rows(rows) is rows
    leaf = x.requires_grad_()
    assert integration._rows(leaf) is leaf


@torch.no_grad()
def test_instance_attributes_of_older_releases_are_swapped(monkeypatch):
    class OlderLayer(nn.Module):
        def __init__(self):
            super().__init__()
            self.chunk_gated_delta_rule = "their chunk"
            self.recurrent_gated_delta_rule = "their recurrence"

    monkeypatch.setattr(integration, "chunk_gated_delta_rule", gated_delta_rule_reference)
    monkeypatch.setattr(integration, "fused_recurrent_gated_delta_rule", gated_delta_rule_reference)
    layer = OlderLayer()
    q, v, g = torch.randn(1, 5, 2, 8), torch.randn(1, 5, 2, 8), -torch.rand(1, 5, 2)
    with use_gdn_ops(nn.Sequential(layer)):
        expected, _ = recurrent_reference(q, q, v, g, -g)
        for rule in (layer.chunk_gated_delta_rule, layer.recurrent_gated_delta_rule):
            o, state = rule(q, q, v, g=g, beta=-g, initial_state=None, max_length_q=5)
            torch.testing.assert_close(o, expected)
            assert state is None
    assert layer.chunk_gated_delta_rule == "their chunk"
    assert layer.recurrent_gated_delta_rule == "their recurrence"


@pytest.mark.parametrize("name", ["chunk_gated_delta_rule", "recurrent_gated_delta_rule"])
def test_kernelize_accepts_a_layer_in_place_of_their_function(name):
    """The rules of ``kernels``: no constructor, no members but two flags, the same parameters."""
    modeling = pytest.importorskip("transformers.models.qwen3_5.modeling_qwen3_5")
    layer = getattr(hub_layers, name)
    assert issubclass(layer, nn.Module) and layer.__init__ is nn.Module.__init__
    assert set(dir(layer)) - set(dir(nn.Module)) == {"can_torch_compile", "has_backward"}
    ours = list(inspect.signature(layer.forward).parameters.values())[1:]
    theirs = inspect.signature(getattr(modeling, f"torch_{name}")).parameters.values()
    facts = [[(p.name, p.kind, p.default) for p in parameters] for parameters in (ours, theirs)]
    assert facts[0] == facts[1]


def test_a_model_without_the_rule_is_refused():
    with pytest.raises(InvalidInput, match="Linear has no gated delta rule layer"):
        use_gdn_ops(nn.Linear(2, 2))


@pytest.mark.parametrize("form", [recurrent_reference, chunkwise_reference])
def test_references_equal_theirs(form):
    modeling = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    torch.manual_seed(0)
    q, k = torch.randn(2, 2, 75, 2, 16).unbind()
    k = torch.nn.functional.normalize(k, dim=-1)
    v, state = torch.randn(2, 75, 4, 24), torch.randn(2, 4, 16, 24)
    g, beta = -torch.rand(2, 75, 4), torch.rand(2, 75, 4)
    options = {"initial_state": state, "output_final_state": True}
    expected = modeling.torch_recurrent_gated_delta_rule(q, k, v, g=g, beta=beta, **options)
    actual = form(q, k, v, g, beta, initial_state=state)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_our_layer_equals_theirs_with_the_same_weights():
    modeling = pytest.importorskip("transformers.models.qwen3_5.modeling_qwen3_5")
    config = importlib.import_module("transformers").Qwen3_5TextConfig(**TINY)
    torch.manual_seed(0)
    theirs = modeling.Qwen3_5GatedDeltaNet(config, layer_idx=0).eval()
    theirs.dt_bias.normal_()
    theirs.norm.weight.normal_()
    ours = GatedDeltaNet(
        hidden_size=32, expand_v=1.5, head_dim=16, num_heads=2, num_v_heads=4, norm_eps=1e-6
    ).eval()
    weights, widths = dict(theirs.named_parameters()), (32, 32, 96)
    state_dict = {
        "A_log": weights["A_log"],
        "dt_bias": weights["dt_bias"],
        "a_proj.weight": weights["in_proj_a.weight"],
        "b_proj.weight": weights["in_proj_b.weight"],
        "g_proj.weight": weights["in_proj_z.weight"],
        "o_norm.weight": weights["norm.weight"],
        "o_proj.weight": weights["out_proj.weight"],
    }
    for target, source in (("proj", "in_proj_qkv"), ("conv1d", "conv1d")):
        parts = weights[f"{source}.weight"].split(widths)
        state_dict |= {f"{n}_{target}.weight": w for n, w in zip("qkv", parts, strict=True)}
    ours.load_state_dict(state_dict)
    x = torch.randn(2, 70, 32)
    torch.testing.assert_close(ours(x)[0], theirs(x), rtol=0, atol=1e-5)
