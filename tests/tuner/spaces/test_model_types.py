"""A model's config gives the problems that the model's own layers would pose."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.layer_classes import LAYER_CLASSES
from gdn_ops.codegen.mixer import Mixer, Use
from gdn_ops.codegen.rule import Rule
from gdn_ops.dispatch.model_layers import mixers_of
from gdn_ops.tuner.spaces.model_fields import read_fields
from gdn_ops.tuner.spaces.model_types import MODEL_TYPES, layers_of

TINY: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4,
    "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
    "linear_key_head_dim": 16, "linear_value_head_dim": 24, "linear_num_key_heads": 2,
    "linear_num_value_heads": 4, "moe_intermediate_size": 16, "num_experts": 4,
    "shared_expert_intermediate_size": 16, "num_experts_per_tok": 2, "pad_token_id": None,
}  # fmt: skip
GDN = {name: TINY[name] for name in TINY if not name.startswith(("moe", "shared", "num_exp"))}
KDA = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 2, "linear_num_heads": 2,
    "linear_head_dim": 16, "moe_intermediate_size": 16, "num_local_experts": 4,
    "num_experts_per_tok": 1, "n_group": 1, "topk_group": 1, "pad_token_id": None,
    "kv_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
}  # fmt: skip
TRANSFORMERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen3_next": ("Qwen3NextConfig", "Qwen3NextForCausalLM", TINY),
    "qwen3_5_text": ("Qwen3_5TextConfig", "Qwen3_5ForCausalLM", GDN),
    "qwen3_5_moe_text": ("Qwen3_5MoeTextConfig", "Qwen3_5MoeForCausalLM", TINY),
    "olmo_hybrid": ("OlmoHybridConfig", "OlmoHybridForCausalLM", GDN),
    "kimi_linear": ("KimiLinearConfig", "KimiLinearForCausalLM", KDA),
    "bailing_hybrid": (
        "BailingHybridConfig", "BailingHybridForCausalLM", KDA | {"head_dim": 16},
    ),
}  # fmt: skip
FLA: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gated_deltanet": (
        "GatedDeltaNetConfig", "GatedDeltaNetForCausalLM",
        {"head_dim": 16, "expand_v": 1.5, "num_heads": 2, "num_v_heads": 4},
    ),
    "delta_net": ("DeltaNetConfig", "DeltaNetForCausalLM", {"num_heads": 2, "expand_v": 2.0}),
    "kda": ("KDAConfig", "KDAForCausalLM", {"head_dim": 16, "num_heads": 2}),
    "kda, bounded": (
        "KDAConfig", "KDAForCausalLM", {"head_dim": 16, "num_heads": 2, "lower_bound": -5.0},
    ),
    "gla": ("GLAConfig", "GLAForCausalLM", {"num_heads": 2, "num_kv_heads": 1}),
    "retnet": ("RetNetConfig", "RetNetForCausalLM", {"num_heads": 2}),
}  # fmt: skip


def saved_and_built(library: str, names: tuple[str, str], sizes: Any, folder: Path) -> Any:
    """The model of a config that its own library has written to a folder."""
    module = importlib.import_module(library)
    if not hasattr(module, names[1]):
        pytest.skip(f"this {library} has no {names[1]}")
    config = getattr(module, names[0])(**sizes)
    config.dtype = "bfloat16"
    config.save_pretrained(folder)
    with torch.device("meta"):
        return getattr(module, names[1])(config).to(torch.bfloat16)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_config_of_transformers_says_what_its_model_has(name: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    config, model_class, sizes = TRANSFORMERS[name]
    model = saved_and_built("transformers", (config, model_class), sizes, tmp_path)
    ((mixer, layers),) = mixers_of(model).items()
    found = layers_of(read_fields(tmp_path))
    assert found.mixer == mixer
    assert (found.model_type, found.count) == (name, len(layers))


@pytest.mark.parametrize("name", FLA)
def test_a_config_of_fla_says_what_its_model_has(name: str, tmp_path: Path) -> None:
    pytest.importorskip("fla")
    config, model_class, sizes = FLA[name]
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "vocab_size": 64} | sizes
    model = saved_and_built("fla.models", (config, model_class), sizes, tmp_path)
    (mixer,) = mixers_of(model)
    assert layers_of(read_fields(tmp_path)).mixer == mixer


QWEN = {
    "model_type": "qwen3_next", "linear_num_key_heads": 16, "linear_num_value_heads": 32,
    "linear_key_head_dim": 128, "linear_value_head_dim": 128,
}  # fmt: skip
EXPANDED = {"hidden_size": 64, "expand_k": 0.5, "expand_v": 1.0, "num_heads": 2}


def mixer(*, dtype: str, state_dtype: str | None = None, **facts: Any) -> Mixer:
    return Mixer(dtype=dtype, state_dtype=state_dtype or dtype, **facts)


CONFIGS: dict[str, tuple[dict[str, Any], Mixer]] = {
    "dtype of old configs": (
        QWEN | {"torch_dtype": "float16"},
        mixer(H=16, HV=32, K=128, V=128, dtype="fp16", beta_dtype="fp16"),
    ),
    "a model for text and images": (
        {"model_type": "qwen3_5", "torch_dtype": "float32",
         "text_config": QWEN | {"model_type": "qwen3_5_text", "dtype": None}},
        mixer(H=16, HV=32, K=128, V=128, dtype="fp32"),
    ),
    "the type around it": (
        {"model_type": "qwen3_5_moe", "text_config": {**QWEN, "model_type": "qwen3_5_moe"}},
        mixer(H=16, HV=32, K=128, V=128, dtype="bf16", beta_dtype="bf16"),
    ),
    "states of another dtype": (
        QWEN | {"dtype": "bfloat16", "mamba_ssm_dtype": "float32"},
        mixer(H=16, HV=32, K=128, V=128, dtype="bf16", beta_dtype="bf16", state_dtype="fp32"),
    ),
    "Kimi-Linear-48B-A3B": (
        {"model_type": "kimi_linear", "head_dim": 72, "dtype": "bfloat16", "linear_attn_config":
         {"num_heads": 32, "head_dim": 128, "short_conv_kernel_size": 4, "kda_layers": [1, 2, 3]}},
        mixer(H=32, HV=32, K=128, V=128, dtype="bf16", rule=Rule("vector"), beta_dtype="bf16"),
    ),
    "olmo's defaults": (
        {"model_type": "olmo_hybrid", "hidden_size": 3840, "num_attention_heads": 30,
         "linear_num_key_heads": None},
        mixer(H=30, HV=30, K=96, V=192, dtype="bf16", beta_dtype="bf16"),
    ),
    "mamba2 without num_heads": (
        {"model_type": "mamba2", "hidden_size": 64, "expand": 2, "head_dim": 32, "n_groups": 1,
         "state_size": 16},
        mixer(H=1, HV=4, K=16, V=32, dtype="fp32", rule=Rule("scalar", False), beta_dtype="bf16"),
    ),
    "gla": (
        {"model_type": "gla", **EXPANDED},
        mixer(H=2, HV=2, K=16, V=32, dtype="bf16", rule=Rule("vector", False), gate_dtype="bf16",
              beta_dtype="bf16"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_config_says(name: str, tmp_path: Path) -> None:
    data, expected = CONFIGS[name]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(data))
    for given in (path, tmp_path):
        assert layers_of(read_fields(given)).mixer == expected


def test_serving_has_packed_prompts_and_a_pool_where_there_is_one(tmp_path: Path) -> None:
    use = Use.of([100], [8], serving=True)
    config = QWEN | {"mamba_ssm_dtype": "float32"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = layers_of(read_fields(tmp_path)).split(4).mixer.problems(use)
    heads = "H4-HV8-K128-V128-bf16"
    assert [problem.bucket().id() for problem in found] == [
        f"forward-scalar-delta-N1-L128-{heads}-varlen-h0-ht",
        f"pool-scalar-delta-N8-L8-{heads}-h0-ht-rawgate-dtbias-l2-rawbeta-vfirst",
    ]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gla", **EXPANDED}))
    found = layers_of(read_fields(tmp_path)).mixer.problems(use)
    assert [problem.op for problem in found] == ["forward", "decode"]
    with pytest.raises(InvalidInput, match="training and serving are two uses"):
        Use.of(serving=True, training=True)


BAD: dict[str, tuple[Any, str]] = {
    "unknown": (
        {"model_type": "llama"},
        "has the unknown model_type 'llama'; the known ones are qwen3_next, .*, mamba2, and --H, "
        "--HV, --K, --V and --dtype",
    ),
    "a rule that no problem has": (
        {"model_type": "gated_deltaproduct"},
        "gated_deltaproduct of .* is not supported, because it takes several delta steps per "
        "token, and a problem has one; --H, ",
    ),
    "layers that do not run on gdn_ops": (
        {"model_type": "nemotron_h"},
        "is not supported, because its Mamba-2 layers call code of their own",
    ),
    "hostile type": ({"model_type": ["x" * 10**6]}, r"the unknown model_type \['xxx"),
    "no type": ({}, "has no model_type; the known ones are"),
    "not an object": ([1], "is not a JSON object; give the config.json of a model"),
    "missing": (
        {k: v for k, v in QWEN.items() if k != "linear_num_key_heads"},
        "has no linear_num_key_heads, which model_type 'qwen3_next' needs; add it, or --H",
    ),
    "text": (
        QWEN | {"linear_num_key_heads": "16"},
        "linear_num_key_heads='16' in .*: it must be a",
    ),
    "true": (QWEN | {"linear_num_key_heads": True}, "linear_num_key_heads=True in "),
    "zero": (QWEN | {"linear_num_key_heads": 0}, "must be a whole number >= 1 and <= 1073741824"),
    "huge": (QWEN | {"linear_num_value_heads": 10**400}, "it must be a whole number >= 1 and <="),
    "large head": (QWEN | {"linear_key_head_dim": 512}, "linear_key_head_dim=512 in .* <= 256"),
    "heads": (QWEN | {"linear_num_value_heads": 24}, "no kernel runs the model of .*: HV=24 value"),
    "dtype": (QWEN | {"dtype": "float8_e4m3fn"}, "dtype='float8_e4m3fn' in .*; name one of"),
    "dtype's type": (QWEN | {"torch_dtype": 16}, "torch_dtype=16 in .*: the kernels compute in"),
    "nested": ({"text_config": [1]}, r"text_config=\[1\] in .*: it must be an object"),
    "nan": (
        {"model_type": "gla", **EXPANDED, "expand_k": float("nan")},
        "expand_k=nan in .*: it m",
    ),
    "fraction": ({"model_type": "gla", **EXPANDED, "expand_k": 0.51}, "heads of equal size"),
    "flag": (
        {"model_type": "kda", "head_dim": 16, "expand_v": 1, "num_heads": 2, "safe_gate": 1},
        "safe_gate=1 in .*: it must be true or false",
    ),
    "value dim": (
        {"model_type": "gated_deltanet", "head_dim": 256, "expand_v": 2.0, "num_heads": 6},
        "head dim V=512 is outside 1..256",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_config_is_one_sentence_with_field_value_and_remedy(
    name: str, tmp_path: Path
) -> None:
    data, says = BAD[name]
    (tmp_path / "config.json").write_text(json.dumps(data))
    with pytest.raises(InvalidInput, match=says) as raised:
        layers_of(read_fields(tmp_path))
    text = str(raised.value)
    assert str(tmp_path) in text and len(text) < 600 and "\n" not in text
    assert text.endswith(".")


def test_no_config_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read the model file"):
        read_fields(tmp_path)
    with pytest.raises(InvalidInput, match="from `hf download Qwen/Qwen3"):
        read_fields(Path("Qwen/Qwen3.5-9B"))


def test_every_model_type_has_a_known_layer() -> None:
    assert {kind.layer for kind in MODEL_TYPES.values()} <= set(LAYER_CLASSES)
