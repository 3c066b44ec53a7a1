"""Input that the serving functions refuse; the error names value, limit and remedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.dispatch.mode import using
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.serving import (
    fused_recurrent_gated_delta_rule,
    fused_recurrent_gated_delta_rule_packed_decode,
    fused_sigmoid_gating_delta_rule_update,
)
from tests.gdn_ops.serving.pool_case import PoolCase

CASE = PoolCase()
TWO = CASE.with_(T=2, slots=((0, 1), (2, 3)))
ROW = CASE.with_(T=4, offsets=(0, 3, 4), slots=((0, 1), (2, 3)))


def call(case: PoolCase, **changes: Any) -> None:
    given = {**case.inputs, "initial_state": case.pool(case.room()), **changes}
    fused_sigmoid_gating_delta_rule_update(**given)


@pytest.mark.parametrize(
    ("case", "change", "text"),
    [
        (CASE, {"initial_state": None}, r"initial_state is None; give the pool"),
        (CASE, {"initial_state": torch.zeros(7, 2, 16, 24)}, r"\[slots, 2, 24, 16\]"),
        (CASE, {"state_v_first": False}, r"\[slots, HV, K, V\].*\[slots, 2, 16, 24\]"),
        (CASE, {"initial_state": torch.zeros(7, 2, 16, 24).mT}, r"strides.*contiguous pool"),
        (CASE, {"ssm_state_indices": torch.tensor([0, 1, 2])}, r"\[3\]; it must be .* N = 4"),
        (CASE, {"ssm_state_indices": torch.tensor([0, 1, 2, 7])},
         "contains 7, but .* 7 slots.*0 to 6"),
        (CASE, {"initial_state": torch.zeros(0, 2, 24, 16)},
         r"\[0, 2, 24, 16\], a pool without slots, .* contains 5; give a pool of at least 6 slots"),
        (CASE, {"ssm_state_indices": torch.zeros(4)}, "is torch.float32; make it int32 or int64"),
        (CASE, {"ssm_state_indices": None, "initial_state": torch.zeros(3, 2, 24, 16)}, "3 slots"),
        (CASE, {"num_accepted_tokens": torch.ones(4, 1, dtype=torch.int32)}, r"\[N\] = \[4\]"),
        (CASE, {"a": torch.zeros(4, 2, 2)}, r"a has shape \[4, 2, 2\].*\[4, 1, 2\] or \[4, 2\]"),
        (CASE, {"A_log": torch.zeros(3)}, r"A_log has shape \[3\]; it must be \[HV\] = \[2\]"),
        (CASE, {"A_log": None}, "A_log is None"),
        (CASE, {"k": torch.zeros(4, 1, 1, 8)}, "k has shape .* they must be equal"),
        (CASE, {"v": torch.zeros(4, 1, 2, 24, dtype=torch.float16)}, "cast them to one dtype"),
        (CASE, {"q": torch.zeros(4, 1, 16)}, r"q has shape \[4, 1, 16\]"),
        (CASE, {"q": [1.0]}, "q is a list"),
        (CASE, {"scale": float("nan")}, "scale=nan is not finite"),
        (CASE, {"beta": -1.0}, "beta=-1.0"),
        (CASE, {"cu_seqlens": torch.tensor([0, 1])}, "q has B=4 rows"),
        (TWO, {"ssm_state_indices": torch.zeros(2, 1, dtype=torch.int32),
               "num_accepted_tokens": torch.ones(2, dtype=torch.int32)}, "1 slots.*T=2"),
        (TWO, {"num_accepted_tokens": torch.tensor([1, 3])},
         "contains 3, but .* 2 slots; give 1 to 2"),
        (TWO, {"num_accepted_tokens": torch.tensor([0, 3])}, "contains 0, but"),
        (ROW, {}, "3 tokens but 2 slots"),
        (ROW, {"cu_seqlens": torch.tensor([0, 3, 5])}, "ends at 5 and q has T=4"),
    ],
)  # fmt: skip
def test_an_invalid_call_is_refused(case: PoolCase, change: dict[str, Any], text: str) -> None:
    with using("torch"), pytest.raises(InvalidInput, match=text):
        call(case, **change)


def test_an_empty_pool_of_skipped_sequences() -> None:
    given = {**CASE.inputs, "ssm_state_indices": torch.full((4,), -1)}
    with using("torch"):
        o, _ = fused_sigmoid_gating_delta_rule_update(
            **given, initial_state=torch.zeros(0, 2, 24, 16)
        )
    assert not o.any()


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize(
    "name", ["q", "k", "v", "a", "b", "A_log", "dt_bias", "initial_state", "ssm_state_indices"]
)
def test_a_sparse_tensor(name: str, seen: bool) -> None:
    gdn_ops.refresh()
    given = {**CASE.inputs, "initial_state": CASE.pool(CASE.room())}
    with using("torch"):
        if seen:
            call(CASE)
        with pytest.raises(InvalidInput, match=rf"{name} is a torch\.sparse_coo tensor"):
            call(CASE, **{name: given[name].to_sparse()})


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"is_kda": True}, "is_kda=True"),
        ({"threshold": 5.0}, "threshold=5.0.*>= 15"),
        ({"initial_state": torch.zeros(7, 2, 24, 16, dtype=torch.float64)}, "float64"),
    ],
)
def test_unsupported_arguments_are_refused(change: dict[str, Any], text: str) -> None:
    with using("torch"), pytest.raises(UnsupportedProblem, match=text):
        call(CASE, **change)


def test_a_chunked_plan_refuses_a_pool() -> None:
    few = "op pool has a few tokens per sequence"
    with using("split"), pytest.raises(UnsupportedProblem, match=few):
        call(CASE)


@pytest.mark.parametrize("name", ["g", "beta"])
def test_a_gate_per_channel_is_refused(name: str) -> None:
    x = {k: CASE.inputs[k] for k in ("q", "k", "v")}
    gates = {"g": torch.zeros(4, 1, 2), "beta": None, name: torch.zeros(4, 1, 2, 24)}
    with pytest.raises(UnsupportedProblem, match=f"{name} has shape"):
        fused_recurrent_gated_delta_rule(**x, **gates, initial_state=CASE.pool(CASE.room()))


def test_a_draft_tree_is_refused() -> None:
    x = {k: CASE.inputs[k] for k in ("q", "k", "v")}
    with pytest.raises(UnsupportedProblem, match="draft trees"):
        fused_recurrent_gated_delta_rule(**x, g=None, retrieve_parent_token=torch.zeros(1))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mixed_qkv": torch.zeros(4, 79)}, r"79 columns; .* 2 H 16 \+ 48"),
        ({"mixed_qkv": torch.zeros(4, 80).to_sparse()}, "mixed_qkv is a torch.sparse_coo tensor"),
        ({"mixed_qkv": torch.zeros(80)}, r"mixed_qkv has shape \[80\]"),
        ({"out": torch.zeros(4, 2, 24)}, r"out has shape \[4, 2, 24\].*\[4, 1, 2, 24\]"),
        ({"a": torch.zeros(3, 2)}, r"a has shape \[3, 2\]"),
    ],
)
def test_packed_decode(change: dict[str, Any], text: str) -> None:
    given = {
        "mixed_qkv": torch.zeros(4, 80),
        "a": torch.zeros(4, 2),
        "b": torch.zeros(4, 2),
        "A_log": torch.zeros(2),
        "dt_bias": torch.zeros(2),
        "scale": None,
        "initial_state": CASE.pool(CASE.room()),
        "out": torch.zeros(4, 1, 2, 24),
        "ssm_state_indices": torch.arange(4),
    }
    with using("torch"):
        fused_recurrent_gated_delta_rule_packed_decode(**given)
        with pytest.raises(InvalidInput, match=text):
            fused_recurrent_gated_delta_rule_packed_decode(**{**given, **change})


def test_stochastic_rounding() -> None:
    with pytest.raises(UnsupportedProblem, match="use_rs_rounding=True"):
        fused_recurrent_gated_delta_rule_packed_decode(
            torch.zeros(4, 80), torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(2),
            torch.zeros(2), None, CASE.pool(CASE.room()), torch.zeros(4, 1, 2, 24),
            torch.arange(4), use_rs_rounding=True,
        )  # fmt: skip
