"""Predicted times of plain PyTorch: what the tape counts, and what tokens and chunks cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gdn_ops.codegen.errors import UnsupportedProblem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cost.rates import Rates
from gdn_ops.tuner.cost.tape import Tape
from gdn_ops.tuner.cost.torch_time import torch_seconds
from tests.tuner.cost.compiled import PROBLEM

RATES = Rates(flops={torch.float32: 1e11, torch.bfloat16: 4e11}, moved=2e10, fresh=1e9, op=5e-6)


def test_the_tape_counts_products_bytes_and_room() -> None:
    a, b = (torch.empty(2, 8, 16, device="meta"), torch.empty(2, 16, 4, device="meta"))
    with Tape() as tape:
        c = torch.bmm(a, b)
        c.transpose(1, 2).add_(1.0)
    product, add = tape.ops
    assert (product.flops, product.rows) == (2 * 2 * 8 * 16 * 4, 8)
    assert (product.fresh, product.bytes) == (4 * 64, 4 * (256 + 128 + 64))
    assert (add.flops, add.fresh, add.bytes) == (0.0, 0, 4 * 64)


def test_more_tokens_and_smaller_chunks_cost_what_they_should() -> None:
    usual = Variant.default("torch", PROBLEM)
    seconds = torch_seconds(PROBLEM, usual, RATES)
    double = torch_seconds(replace(PROBLEM, tokens=1024), usual, RATES)
    assert 1.6 < double / seconds < 2.2
    small = Variant.of("torch", PROBLEM, {}, {"torch_chunk": {"BT": 16, "AHEAD": 1}})
    slow_calls = replace(RATES, op=1e-3)
    assert torch_seconds(PROBLEM, small, slow_calls) > 2 * torch_seconds(PROBLEM, usual, slow_calls)


def test_packed_sequences_are_refused_by_name() -> None:
    packed = replace(PROBLEM, varlen=True, sequences=4)
    with pytest.raises(UnsupportedProblem, match="lengths of its packed"):
        torch_seconds(packed, Variant.default("torch", packed), RATES)
