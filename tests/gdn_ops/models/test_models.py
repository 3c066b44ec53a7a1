"""The language models: prefill, decode and one pass agree; patterns; a few steps learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.layers import (
    DeltaNet,
    DeltaNetCache,
    GatedDeltaNet,
    GatedLinearAttention,
    Mamba2,
    SlidingWindowAttention,
)
from gdn_ops.models import PATTERNS, HybridConfig, HybridLanguageModel
from tests.close import assert_close

TOKENS = torch.randint(32, (2, 21), generator=torch.Generator().manual_seed(1))


def model_of(pattern: str | tuple[str, ...], **options: object) -> HybridLanguageModel:
    torch.manual_seed(0)
    size = {"vocab_size": 32, "hidden_size": 32, "num_layers": 3, "head_dim": 16, "window_size": 5}
    return HybridLanguageModel(HybridConfig(pattern=pattern, **size | options))


def test_patterns_are_those_of_the_paper() -> None:
    layers = {
        "H1": [GatedDeltaNet, SlidingWindowAttention, GatedDeltaNet],
        "H2": [Mamba2, GatedDeltaNet, SlidingWindowAttention],
        "gdn": 3 * [GatedDeltaNet],
        "deltanet": 3 * [DeltaNet],
        "mamba2": 3 * [Mamba2],
        "gla": 3 * [GatedLinearAttention],
        "swa": 3 * [SlidingWindowAttention],
        "attention": 3 * [SlidingWindowAttention],
        "deltanet-swa": [DeltaNet, SlidingWindowAttention, DeltaNet],
        "deltanet-attention": [DeltaNet, SlidingWindowAttention, DeltaNet],
        ("swa", "swa", "gdn"): [SlidingWindowAttention, SlidingWindowAttention, GatedDeltaNet],
    }
    assert set(PATTERNS) <= set(layers)
    for pattern, expected in layers.items():
        assert [type(block.mixer) for block in model_of(pattern).blocks] == expected
    stack = HybridConfig("deltanet-attention", num_layers=8).mixers
    assert [i for i, mixer in enumerate(stack) if mixer == "attention"] == [1, 4]


@pytest.mark.parametrize("pattern", PATTERNS)
@torch.no_grad()
def test_token_by_token_equals_one_pass(pattern: str) -> None:
    model = model_of(pattern).eval()
    expected, no_cache = model(TOKENS)
    assert no_cache is None
    for lengths in ([1] * 21, [13] + [1] * 8, [2, 11, 8]):
        cache, logits = DeltaNetCache(), []
        for piece in TOKENS.split(lengths, dim=1):
            logits.append(model(piece, cache=cache)[0])
        assert_close(f"{pattern} {lengths}", expected, torch.cat(logits, dim=1), 2e-5)


@pytest.mark.parametrize("pattern", PATTERNS)
@torch.no_grad()
def test_padded_and_packed_rows_are_as_alone(pattern: str) -> None:
    model = model_of(pattern).eval()
    mask = torch.ones(2, 21, dtype=torch.long)
    mask[1, :8] = 0
    alone = [model(TOKENS[:1])[0], model(TOKENS[1:, 8:])[0]]
    logits, cache = model(TOKENS, mask, use_cache=True)
    assert_close("padded", alone[1], logits[1:, 8:], 2e-5)
    packed = torch.cat([TOKENS[:1], TOKENS[1:, 8:]], dim=1)
    logits, _ = model(packed, cu_seqlens=torch.tensor([0, 21, 34]))
    assert_close("packed", torch.cat(alone, dim=1), logits, 2e-5)
    logits, _ = model(TOKENS[:, :1], F.pad(mask, (0, 1), value=1), cache)
    longer = torch.cat([TOKENS[1:, 8:], TOKENS[1:, :1]], dim=1)
    assert_close("decode", model(longer)[0][:, -1:], logits[1:], 2e-5)


@torch.no_grad()
def test_generate_takes_the_likeliest_token() -> None:
    model = model_of("H2").eval()
    answer = model.generate(TOKENS, 4)
    tokens = TOKENS
    for t in range(4):
        assert model(tokens)[0][:, -1].argmax(-1).equal(answer[:, t])
        tokens = torch.cat([tokens, answer[:, t : t + 1]], dim=1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_few_steps_learn(pattern: str) -> None:
    model = model_of(pattern, num_layers=len(HybridConfig(pattern).period)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        logits, _ = model(TOKENS[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_tied_embeddings_are_one_parameter() -> None:
    model = model_of("gdn", tie_embeddings=True)
    assert model.lm_head.weight is model.embedding.weight


def test_unknown_patterns_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"'h1'.*H1, H2"):
        HybridConfig(pattern="h1")
    with pytest.raises(UnknownName, match="did you mean 'gdn'"):
        HybridConfig(pattern=("gdn", "gnd"))
    with pytest.raises(InvalidInput, match="num_layers=0"):
        HybridConfig(num_layers=0)
