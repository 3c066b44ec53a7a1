"""Sliding-window attention equals its formula, also when a sequence is split over calls."""

from __future__ import annotations

import pytest
import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.layers import DeltaNetCache, SlidingWindowAttention
from tests.close import assert_close

WINDOW = 6


def layer_of(**options: object) -> SlidingWindowAttention:
    torch.manual_seed(0)
    geometry = {"hidden_size": 32, "num_heads": 4, "window_size": WINDOW, "layer_idx": 0}
    return SlidingWindowAttention(**geometry | options).double().eval()


def hidden_states(B: int = 2, T: int = 20) -> torch.Tensor:
    return torch.randn(B, T, 32, generator=torch.Generator().manual_seed(1)).double()


def rotated(x: torch.Tensor, position: int) -> torch.Tensor:
    """RoPE written out with complex numbers; x [heads, D]."""
    half = x.shape[-1] // 2
    turn = position * 10000.0 ** (-torch.arange(half).double() / half)
    y = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones(half).double(), turn)
    return torch.cat([y.real, y.imag], dim=-1)


def formula(layer: SlidingWindowAttention, x: torch.Tensor) -> torch.Tensor:
    """Token by token and row by row, x [B, T, D]."""
    group = layer.num_heads // layer.num_kv_heads
    rows = []
    for row in x:
        q, k, v = (p(row).view(len(row), -1, 8) for p in (layer.q_proj, layer.k_proj, layer.v_proj))
        k, v = (y.repeat_interleave(group, dim=1) for y in (k, v))
        q, k = (torch.stack([rotated(y[t], t) for t in range(len(row))]) for y in (q, k))
        o = []
        for t in range(len(row)):
            seen = slice(max(0, t - (layer.window_size or 64) + 1), t + 1)
            weights = torch.einsum("hd,shd->hs", q[t], k[seen] / 8**0.5).softmax(-1)
            o.append(torch.einsum("hs,shd->hd", weights, v[seen]).flatten())
        rows.append(layer.o_proj(torch.stack(o)))
    return torch.stack(rows)


OPTIONS = [{}, {"num_kv_heads": 2}, {"qkv_bias": True}, {"window_size": 1}, {"window_size": None}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_one_pass_and_pieces_equal_the_formula(options: dict) -> None:
    layer, x = layer_of(**options), hidden_states()
    expected = formula(layer, x)
    assert_close("one pass", expected, layer(x)[0], 1e-11)
    for lengths in ([1] * 20, [3, 1, 9, 7], [17, 1, 2]):
        cache, outputs = DeltaNetCache(), []
        for piece in x.split(lengths, dim=1):
            outputs.append(layer(piece, past_key_values=cache)[0])
        assert_close(str(lengths), expected, torch.cat(outputs, dim=1), 1e-11)
        assert cache.layers[0].keys.shape[1] == min((layer.window_size or 64) - 1, 20)


@torch.no_grad()
def test_decode_continues_after_padding() -> None:
    layer, x = layer_of(), hidden_states()
    mask = torch.ones(2, 20)
    mask[1, :17] = 0  # shorter than the window: its cache has room left
    expected = [formula(layer, x[:1]), formula(layer, x[1:, 17:])]
    o, _, cache = layer(x[:, :18], mask[:, :18], use_cache=True)
    assert_close("long", expected[0][:, :18], o[:1], 1e-11)
    assert_close("short", expected[1][:, :1], o[1:, 17:], 1e-11)
    assert o[1, :17].eq(0).all()
    for t in (18, 19):
        o, _, _ = layer(x[:, t : t + 1], mask[:, : t + 1], cache)
        assert_close("long", expected[0][:, t], o[0], 1e-11)
        assert_close("short", expected[1][:, t - 17], o[1], 1e-11)


@torch.no_grad()
def test_packed_sequences_do_not_mix() -> None:
    layer, x = layer_of(), hidden_states()
    parts = [x[:1, :9], x[1:, :0], x[1:, :11]]
    cache = DeltaNetCache()
    o, _, _ = layer(
        torch.cat(parts, dim=1), past_key_values=cache, cu_seqlens=torch.tensor([0, 9, 9, 20])
    )
    more = torch.cat([x[:1, 9:11], x[1:, 2:3], x[1:, 11:12]], dim=1)
    o2, _, _ = layer(more, past_key_values=cache, cu_seqlens=torch.tensor([0, 2, 3, 4]))
    first, last = formula(layer, x[:1, :11]), formula(layer, x[1:, :12])
    alone = formula(layer, x[1:, 2:3])
    assert_close("prefill", torch.cat([first[:, :9], last[:, :11]], dim=1), o, 1e-11)
    assert_close("decode", torch.cat([first[:, 9:], alone, last[:, 11:]], dim=1), o2, 1e-11)


def test_padding_leaves_gradients_finite() -> None:
    layer, x = layer_of(), hidden_states().requires_grad_()
    mask = torch.ones(2, 20)
    mask[1, 5:] = 0
    layer(x, mask)[0].sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad[1, 5:].eq(0).all()
    assert x.grad[1, :5].abs().min() > 0


def test_wrong_geometry_is_refused() -> None:
    for options, message in (
        ({"num_heads": 5}, "hidden_size=32 does not split into num_heads=5"),
        ({"num_kv_heads": 3}, "num_heads=4 is not a multiple of num_kv_heads=3"),
        ({"window_size": 0}, "window_size=0"),
    ):
        with pytest.raises(InvalidInput, match=message):
            layer_of(**options)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        (torch.tensor([0.0, 20.0]), "cu_seqlens is torch.float32; make it int32 or int64"),
        (torch.tensor([1, 20]), "cu_seqlens starts at 1; the first offset must be 0"),
        (torch.tensor([0, 9, 4, 20]), "cu_seqlens decreases from 9 to 4 at sequence 1"),
        (torch.tensor([0, 21]), "cu_seqlens ends at 21"),
        (torch.tensor([0]), r"cu_seqlens has shape \[1\]"),
        ([0, 20], "cu_seqlens is a list"),
    ],
    ids=str,
)
def test_wrong_offsets_are_refused(offsets: torch.Tensor, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        layer_of()(hidden_states(B=1), cu_seqlens=offsets)
