"""Wrong arguments of layers and models: the error names the value and what it must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.integrations.transformers import use_gdn_ops
from gdn_ops.layers import (
    DeltaNet,
    DeltaNetCache,
    GatedDeltaNet,
    GatedRMSNorm,
    Mamba2,
    ShortConvolution,
    SlidingWindowAttention,
    SwiGLU,
)
from gdn_ops.models import HybridConfig, HybridLanguageModel
from tests.gdn_ops.layers.small_layers import LAYERS, hidden_states, small_layer

COUNTS: list[tuple[Callable[..., Any], tuple[str, ...]]] = [
    (GatedDeltaNet, ("hidden_size", "num_heads", "num_v_heads", "head_dim", "conv_size")),
    (DeltaNet, ("hidden_size", "num_heads", "conv_size")),
    (Mamba2, ("hidden_size", "num_heads", "head_dim", "state_size", "n_groups", "conv_kernel")),
    (SlidingWindowAttention, ("hidden_size", "num_heads", "num_kv_heads", "window_size")),
    (
        HybridConfig,
        (
            *("vocab_size", "hidden_size", "num_layers", "num_heads", "head_dim"),
            *("intermediate_size", "window_size", "conv_size"),
        ),
    ),
    (lambda **size: ShortConvolution(**{"hidden_size": 4, "kernel_size": 4} | size),
     ("hidden_size", "kernel_size")),
    (GatedRMSNorm, ("hidden_size",)),
    (lambda **size: SwiGLU(**{"hidden_size": 4, "intermediate_size": 4} | size),
     ("hidden_size", "intermediate_size")),
]  # fmt: skip


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
@pytest.mark.parametrize(("build", "names"), COUNTS, ids=lambda x: getattr(x, "__name__", None))
def test_a_size_that_is_no_positive_integer_is_refused(
    build: Callable[..., Any], names: tuple[str, ...], value: object
) -> None:
    for name in names:
        with pytest.raises(InvalidInput, match=f"{name}={value!r}; give an integer >= 1"):
            build(**{name: value})


@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "2"])
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (GatedDeltaNet, "expand_v"),
        (DeltaNet, "expand_k"),
        (DeltaNet, "expand_v"),
        (Mamba2, "expand"),
        (SlidingWindowAttention, "rope_theta"),
    ],
)
def test_a_factor_that_is_not_positive_is_refused(
    build: Callable[..., Any], name: str, value: object
) -> None:
    with pytest.raises(InvalidInput, match=f"{name}={value!r}; give a finite number > 0"):
        build(**{name: value})


@pytest.mark.parametrize("value", [-1e-5, math.nan, None])
@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda norm_eps: GatedDeltaNet(64, norm_eps=norm_eps), "eps"),
        (lambda norm_eps: DeltaNet(hidden_size=64, norm_eps=norm_eps), "eps"),
        (Mamba2, "norm_eps"),
        (HybridConfig, "norm_eps"),
    ],
)
def test_a_negative_eps_is_refused(build: Callable[..., Any], name: str, value: object) -> None:
    with pytest.raises(InvalidInput, match=f"{name}={value!r}; give a finite number >= 0"):
        build(norm_eps=value)


X = hidden_states(B=2, T=5)
CALLS: dict[str, tuple[object, dict[str, object], str]] = {
    "two dimensions": (X[0], {}, r"hidden_states has shape \[5, 32\]; it must be \[B, T, 32\]"),
    "four dimensions": (X[None], {}, r"shape \[1, 2, 5, 32\]; it must be \[B, T, 32\]"),
    "another width": (X[..., 1:], {}, r"shape \[2, 5, 31\]; it must be \[B, T, 32\]"),
    "integers": (X.long(), {}, "hidden_states is torch.int64; make it a floating-point tensor"),
    "a list": ([1.0], {}, "hidden_states is a list; give a torch.Tensor"),
    "a dict as cache": (X, {"past_key_values": {}}, "past_key_values is a dict; give a gdn_ops"),
    "a string in the cache": (X, {"past_key_values": DeltaNetCache({0: "a"})}, "holds a str"),
    "packed rows": (X, {"cu_seqlens": torch.tensor([0, 5])}, "hidden_states has B=2 rows"),
    "offsets past T": (X[:1], {"cu_seqlens": torch.tensor([0, 6])}, "cu_seqlens ends at 6"),
    "offsets from 1": (X[:1], {"cu_seqlens": torch.tensor([1, 5])}, "cu_seqlens starts at 1"),
    "float offsets": (X[:1], {"cu_seqlens": torch.tensor([0.0, 5])}, "make it int32 or int64"),
    "no sequences": (X[:1], {"cu_seqlens": torch.tensor([0])}, r"it must be \[N \+ 1\]"),
    "a mask as a list": (X, {"attention_mask": [[1] * 5]}, "attention_mask is a list"),
    "a mask of four dimensions": (
        X,
        {"attention_mask": torch.ones(2, 1, 5, 5)},
        r"attention_mask has shape \[2, 1, 5, 5\]; it must be \[B=2, at least T=5\]",
    ),
}


@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_wrong_call_of_a_layer_is_refused(name: str, case: str) -> None:
    x, options, message = CALLS[case]
    with pytest.raises(InvalidInput, match=message):
        small_layer(name)(x, **options)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("GatedDeltaNet", "SlidingWindowAttention"),
        ("GatedDeltaNet", "GatedDeltaNet without convolutions"),
        ("GatedDeltaNet without convolutions", "GatedDeltaNet"),
        ("DeltaNet", "Mamba2"),
        ("Mamba2", "DeltaNet"),
        ("SlidingWindowAttention", "DeltaNet"),
    ],
)
def test_the_state_of_another_layer_is_refused(name: str, other: str) -> None:
    _, _, cache = small_layer(other)(X, use_cache=True)
    before = dict(cache.layers)
    with pytest.raises(InvalidInput, match="give each layer of the stack its own layer_idx"):
        small_layer(name)(X, past_key_values=cache)
    assert cache.layers == before


def test_the_keys_of_other_heads_are_refused() -> None:
    _, _, cache = small_layer("SlidingWindowAttention", num_kv_heads=2)(X, use_cache=True)
    with pytest.raises(InvalidInput, match=r"keys \[2, 4, 2, 8\]; .* heads \[4, 8\]"):
        small_layer("SlidingWindowAttention")(X, past_key_values=cache)


@pytest.mark.parametrize(
    ("x", "state", "offsets", "message"),
    [
        (torch.ones(5, 6), None, None, r"x has shape \[5, 6\]; it must be \[B, T, 6\]"),
        (torch.ones(1, 5, 7), None, None, r"x has shape \[1, 5, 7\]; it must be \[B, T, 6\]"),
        (torch.ones(1, 5, 6), torch.ones(1, 6, 2), None, r"W - 1\] = \[1, 6, 3\]"),
        (torch.ones(2, 5, 6), torch.ones(1, 6, 3), None, r"W - 1\] = \[2, 6, 3\]"),
        (torch.ones(1, 5, 6), torch.ones(3, 6, 3), [0, 2, 5], r"W - 1\] = \[2, 6, 3\]"),
        (torch.ones(2, 5, 6), None, [0, 5], "x has B=2 rows"),
        (torch.ones(1, 5, 6), None, [0, 6], "cu_seqlens ends at 6"),
    ],
)
def test_a_wrong_call_of_a_convolution_is_refused(
    x: torch.Tensor, state: torch.Tensor | None, offsets: list[int] | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        ShortConvolution(6, 4)(x, state, None if offsets is None else torch.tensor(offsets))


def test_a_wrong_call_of_a_norm_is_refused() -> None:
    norm = GatedRMSNorm(4)
    with pytest.raises(InvalidInput, match=r"x has shape \[2, 5\]; it must be \[\.\.\., 4\]"):
        norm(torch.ones(2, 5))
    with pytest.raises(InvalidInput, match=r"gate has shape \[3, 1, 4\]; it must have x's, \[2, 4"):
        norm(torch.ones(2, 4), torch.ones(3, 1, 4))
    with pytest.raises(InvalidInput, match=r"x is torch\.int64"):
        norm(torch.ones(2, 4, dtype=torch.long))


def test_wrong_patterns_and_calls_of_a_model_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"pattern=\['gdn'\] is a list"):
        HybridConfig(["gdn"])
    with pytest.raises(InvalidInput, match=r"pattern=\(\) has no mixers"):
        HybridConfig(())
    with pytest.raises(InvalidInput, match="config is a dict"):
        HybridLanguageModel({})
    model = HybridLanguageModel(HybridConfig("gdn", hidden_size=16, head_dim=8))
    tokens = torch.ones(2, 5, dtype=torch.long)
    with pytest.raises(InvalidInput, match=r"input_ids is torch.float32 \[2, 5\]"):
        model(tokens.float())
    with pytest.raises(InvalidInput, match=r"input_ids is torch.int64 \[5\]"):
        model(tokens[0])
    with pytest.raises(InvalidInput, match="past_key_values is a dict"):
        model(tokens, cache={})
    with pytest.raises(InvalidInput, match="steps=0"):
        model.generate(tokens, 0)
    with pytest.raises(InvalidInput, match=r"input_ids has shape \[2, 0\]"):
        model.generate(tokens[:, :0], 2)


def test_what_is_no_module_is_not_switched_over() -> None:
    with pytest.raises(InvalidInput, match="model is a NoneType"):
        use_gdn_ops(None)


def test_a_rounded_expand_is_accepted() -> None:
    """48 / 47 * 47 is not 48 in floating point."""
    assert 48 / 47 * 47 != 48
    config = HybridConfig("mamba2", hidden_size=47, num_heads=1, head_dim=48)
    assert HybridLanguageModel(config).blocks[0].mixer.value_dim == 48
