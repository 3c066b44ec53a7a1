"""The recurrent layers of a model, from its config alone; no library of models is imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.codegen.layer_classes import LAYER_CLASSES
from gdn_ops.codegen.mixer import Mixer, Use
from gdn_ops.tuner.spaces.model_fields import INSTEAD, Fields

DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
DTYPE_FIELDS = ("dtype", "torch_dtype")
"""Fields with the dtype of a model; older configs have the second."""
STATE_FIELDS = ("mamba_ssm_dtype",)
"""Fields with the dtype of states in a pool; without one it is the model's."""
USUAL_DTYPE = "bf16"
"""What models are run in if their config does not say."""
LINEAR = "linear_attention"
"""What a config calls a recurrent layer in the list of its layers' types."""


@dataclass(frozen=True)
class Sizes:
    """Heads and head dims of a layer; ``bounded``: its gate has a lower bound."""

    H: int
    HV: int
    K: int
    V: int
    bounded: bool = False


@dataclass(frozen=True)
class ModelType:
    """How a type of model is read.

    Args:
        layer: the name of the class of its recurrent layers, in ``LAYER_CLASSES``.
        sizes: reads the sizes of these layers.
    """

    layer: str
    sizes: Callable[[Fields], Sizes]


def _linear(f: Fields) -> Sizes:
    return Sizes(
        f.size("linear_num_key_heads"), f.size("linear_num_value_heads"),
        f.head_dim("linear_key_head_dim"), f.head_dim("linear_value_head_dim"),
    )  # fmt: skip


def _olmo_hybrid(f: Fields) -> Sizes:
    heads = f.first_size("linear_num_key_heads", "num_attention_heads")
    K = f.size_or("linear_key_head_dim", int(0.75 * f.size("hidden_size") / heads))
    return Sizes(
        heads, f.first_size("linear_num_value_heads", "num_attention_heads"),
        K, f.size_or("linear_value_head_dim", 2 * K),
    )  # fmt: skip


def _kimi_linear(f: Fields) -> Sizes:
    # the checkpoints have the table, and what transformers writes has the fields
    table = f.table("linear_attn_config")
    heads = f.size("linear_num_heads") if table is None else table.size("num_heads")
    dim = f.head_dim("linear_head_dim") if table is None else table.head_dim("head_dim")
    return Sizes(heads, heads, dim, dim)


def _bailing_hybrid(f: Fields) -> Sizes:
    # checkpoints have the second names; where transformers writes the first, head_dim is another
    heads = f.first_size("linear_num_heads", "num_attention_heads")
    dim = f.first_size("linear_head_dim", "head_dim")
    return Sizes(heads, heads, dim, dim)


def _gated_deltanet(f: Fields) -> Sizes:
    heads = f.size("num_heads")
    return Sizes(
        heads, f.size_or("num_v_heads", heads), f.head_dim("head_dim"),
        f.head_dim_times("head_dim", "expand_v"),
    )  # fmt: skip


def _kda(f: Fields) -> Sizes:
    s = _gated_deltanet(f)
    bounded = f.flag("safe_gate") or f.get("lower_bound") is not None
    return Sizes(s.H, s.HV, s.K, s.V, bounded)


def _expanded(f: Fields) -> Sizes:
    heads = f.size("num_heads")
    return Sizes(heads, heads, f.part("expand_k", heads), f.part("expand_v", heads))


def _mamba2(f: Fields) -> Sizes:
    dim = f.head_dim("head_dim")
    heads = f.size_or("num_heads", round(f.size("hidden_size") * f.factor("expand")) // dim)
    return Sizes(f.size("n_groups"), heads, f.head_dim("state_size"), dim)


MODEL_TYPES: dict[str, ModelType] = {
    "qwen3_next": ModelType("Qwen3NextGatedDeltaNet", _linear),
    "qwen3_5": ModelType("Qwen3_5GatedDeltaNet", _linear),
    "qwen3_5_moe": ModelType("Qwen3_5MoeGatedDeltaNet", _linear),
    "qwen4_exp": ModelType("Qwen4ExpTextGatedDeltaNet", _linear),
    "olmo_hybrid": ModelType("OlmoHybridGatedDeltaNet", _olmo_hybrid),
    "kimi_linear": ModelType("KimiLinearDeltaAttention", _kimi_linear),
    "bailing_hybrid": ModelType("BailingHybridDeltaAttention", _bailing_hybrid),
    "glm5_next": ModelType("Glm5NextTextLinearAttention", _kimi_linear),
    "gated_deltanet": ModelType("GatedDeltaNet", _gated_deltanet),
    "delta_net": ModelType("DeltaNet", _expanded),
    "kda": ModelType("KimiDeltaAttention", _kda),
    "gla": ModelType("GatedLinearAttention", _expanded),
    "retnet": ModelType("MultiScaleRetention", _expanded),
    "mamba2": ModelType("Mamba2", _mamba2),
}
"""By the ``model_type`` of a config, without the suffix ``_text`` of a language model's part."""

_MAMBA_SSM = "its Mamba-2 layers call code of their own, which gdn_ops does not replace"
UNSUPPORTED: dict[str, str] = {
    "gated_deltaproduct": "it takes several delta steps per token, and a problem has one",
    "nemotron_h": _MAMBA_SSM,
    "bamba": _MAMBA_SSM,
    "falcon_h1": _MAMBA_SSM,
    "granitemoehybrid": _MAMBA_SSM,
    "zamba2": _MAMBA_SSM,
    "mamba": "its state is a vector per channel, and a problem has a matrix per head",
    "falcon_mamba": "its state is a vector per channel, and a problem has a matrix per head",
    "rwkv7": "it removes from the state along another vector than the key",
}
"""Types of recurrent models that are known and not supported, each with what is missing."""


@dataclass(frozen=True)
class ModelLayers:
    """The recurrent layers of a model: its type, their mixer, and their number if it is known."""

    model_type: str
    mixer: Mixer
    count: int | None

    def split(self, devices: int) -> ModelLayers:
        """The part on each device, with the heads split among several.

        Raises:
            InvalidInput: the heads cannot be split evenly.
        """
        return replace(self, mixer=self.mixer.split(devices))

    def __str__(self) -> str:
        number = "the" if self.count is None else str(self.count)
        return f"{number} recurrent layer{'' if self.count == 1 else 's'}"


def layers_of(fields: Fields, dtype: str | None = None) -> ModelLayers:
    """The recurrent layers of a model.

    Args:
        fields: the fields of its config.
        dtype: an element type to use instead of the config's.

    Raises:
        InvalidInput: a field is missing, of the wrong type or out of range.
        UnknownName: there is no such dtype.
    """
    name = fields.model_type
    short = name.removesuffix("_text") if isinstance(name, str) else ""
    if short in UNSUPPORTED:
        raise InvalidInput(
            f"the model_type {name} of {fields.path} is not supported, because "
            f"{UNSUPPORTED[short]}; {INSTEAD}."
        )
    if short not in MODEL_TYPES:
        has = "no model_type" if name is None else f"the unknown model_type {shown(name)}"
        raise InvalidInput(
            f"{fields.path} has {has}; the known ones are {', '.join(MODEL_TYPES)}, and {INSTEAD}."
        )
    kind = MODEL_TYPES[short]
    s = kind.sizes(fields)
    mixer = LAYER_CLASSES[kind.layer].mixer(
        H=s.H, HV=s.HV, K=s.K, V=s.V, dtype=dtype or _dtype(fields, DTYPE_FIELDS) or USUAL_DTYPE,
        bounded=s.bounded, state_dtype=_dtype(fields, STATE_FIELDS),
    )  # fmt: skip
    return ModelLayers(name, _checked(mixer, fields), _count(fields))


def _checked(mixer: Mixer, fields: Fields) -> Mixer:
    """The mixer, if it poses problems that are allowed."""
    try:
        mixer.problems(Use.of())
    except InvalidInput as error:
        raise InvalidInput(f"no kernel runs the model of {fields.path}: {error}") from error
    return mixer


def _dtype(fields: Fields, names: tuple[str, ...]) -> str:
    """The dtype that a config gives in one of some fields, the inner config first; "" for none."""
    for data in (fields.data, fields.outer):
        for name in names:
            value = data.get(name)
            if value is None or value == "auto":
                continue
            text = value.removeprefix("torch.") if isinstance(value, str) else ""
            if text not in DTYPES:
                raise InvalidInput(
                    f"{name}={shown(value)} in {fields.path}: the kernels compute in "
                    f"{', '.join(DTYPES)}; name one of these, or give the dtype of the activations "
                    "to `gdn tune` with --dtype."
                )
            return DTYPES[text]
    return ""


def _count(fields: Fields) -> int | None:
    """The number of recurrent layers, if the config lists the types of its layers."""
    types = fields.get("layer_types")
    if not isinstance(types, list):
        return None
    return sum(kind == LINEAR for kind in types) or None
