"""Stages segment_bound, segment_map and segment_carry against the recurrence; what is left out."""

from __future__ import annotations

from math import exp
from typing import Any

import pytest
import torch

from tests.close import assert_close
from tests.codegen.kernels.segment_case import (
    BT,
    CUT,
    SEG,
    segments_of,
    state_after,
    walked,
)
from tests.gdn_ops.ops.calls import call
from tests.stage_runner import POISON


def arguments_of(**facts: Any) -> dict[str, Any]:
    return call(**{"B": 1, "H": 1, "HV": 2, "V": 32, **facts})


def chunk(s: slice, i: int) -> slice:
    """Tokens of chunk i of a segment."""
    return slice(s.start + i * BT, s.start + (i + 1) * BT)


@pytest.mark.parametrize("HV", [2, 6])
def test_growth_bounds_every_chunk_and_is_tight_without_keys(HV: int) -> None:
    x = arguments_of(T=150, H=2, HV=HV)
    x["k"] = x["k"] * 3 * torch.rand(1, 150, 1, 1)
    x["beta"] = 2 * x["beta"]
    x["k"][:, :BT] = 0
    found, eye = walked(x, until="segment_bound")["log_norm"], torch.eye(16).expand(HV, 16, 16)
    for row, (b, s, _, final) in enumerate(segments_of(x)):
        if final:
            assert found[row].isnan().all(), "nothing reads a sequence's last segment"
            continue
        for i in range(SEG):
            norm = torch.linalg.matrix_norm(state_after(x, b, chunk(s, i), eye, v=False), 2)
            assert (norm <= found[row, :, i].double().exp() * (1 + 1e-5)).all()
    decay = x["g"][0, :BT].sum(0)
    assert_close("log_norm", decay, found[0, :, 0], 1e-6)


@pytest.mark.parametrize("gate", ["zero", "none"])
@pytest.mark.parametrize("offsets", [None, [0, 0, 70, 199]])
def test_heads_that_never_decay_have_whole_transitions(gate: str, offsets: Any) -> None:
    x = arguments_of(T=200, gate=gate, offsets=offsets)
    found = walked(x, until="segment_carry")
    eye, zero = torch.eye(16).expand(2, 16, 16), torch.zeros(2, 16, 32)
    states = list(x["initial_state"].double())
    for row, (b, s, n, final) in enumerate(segments_of(x)):
        assert_close("h_start", states[n], found["h_start"][row], 1e-5)
        if final:
            assert found["M"][row].isnan().all() and found["h_local"][row].isnan().all()
            continue
        if gate == "zero":
            assert (found["whole"][row] == 1).all()
        assert_close("M", state_after(x, b, s, eye, v=False), found["M"][row], 1e-5)
        assert_close("h_local", state_after(x, b, s, zero), found["h_local"][row], 1e-5)
        states[n] = state_after(x, b, s, states[n])


def test_heads_that_decay_at_once_are_made_of_their_last_chunk() -> None:
    x = arguments_of(T=150, gate="strong")
    x["k"][:, : CUT - BT], x["v"][:, : CUT - BT] = float("nan"), float("nan")
    x["k"][:, :CUT:BT] = 0
    found = walked(x, until="segment_carry")
    assert (found["whole"][0] == 0).all() and (found["whole"][2] == POISON).all()
    assert found["M"].isnan().all()
    last = state_after(x, 0, slice(CUT - BT, CUT), torch.zeros(2, 16, 32))
    assert_close("h_local", last, found["h_local"][0], 1e-5)
    assert_close("h_start", last, found["h_start"][1], 1e-5)


@pytest.mark.parametrize("limit", [10, 20])
def test_what_is_left_out_is_below_its_bound_and_near_it(limit: int) -> None:
    """Tokens of the last two chunks only decay, so that the bound is the error itself."""
    x = arguments_of(T=100)
    x["g"] = torch.full_like(x["g"], -0.01)
    x["g"][:, CUT - 2 * BT : CUT] = -(limit + 0.1) / (2 * BT)
    x["g"][..., 1] /= 2
    x["beta"][:, CUT - 2 * BT :] = 0
    found = walked(x, until="segment_carry", limit=limit)
    assert found["whole"][0].tolist() == [0, 1]
    before = state_after(x, 0, slice(CUT - 2 * BT), x["initial_state"][0])
    after = state_after(x, 0, slice(CUT), x["initial_state"][0])
    error = torch.linalg.matrix_norm(found["h_start"][1] - after)
    bound = exp(-limit) * torch.linalg.matrix_norm(before)
    assert 0.8 * bound[0] < error[0] <= bound[0]
    assert_close("a head that is not left out", after[1], found["h_start"][1, 1], 1e-6)


def test_keys_longer_than_one_leave_nothing_out() -> None:
    """The gate alone says exp(-13), and the state along the keys grows all the same."""
    x = arguments_of(T=150, HV=1)
    x["k"], x["g"] = torch.zeros_like(x["k"]), torch.full_like(x["g"], -0.2)
    x["k"][..., 0], x["beta"] = 3.0, torch.full_like(x["beta"], 0.25)
    x["v"][:, CUT:] = 0
    found = walked(x, until="segment_carry", limit=10)
    assert (found["whole"][:2] == 1).all()
    after = state_after(x, 0, slice(2 * CUT), x["initial_state"][0])
    assert_close("h_start", after, found["h_start"][2], 1e-5)
    short = {**x, "k": x["k"] / 3}
    assert (walked(short, until="segment_map", limit=10)["whole"][:2] == 0).all()
