"""Gradients of plan segmented: every stage and the whole, against autograd of the recurrence."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import Any

import pytest
import torch
from torch import Tensor

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.render import render
from tests.close import assert_close
from tests.codegen.kernels.segment_case import (
    BT,
    CUT,
    segments_of,
)
from tests.codegen.kernels.segment_gradient_case import (
    INPUTS,
    backward_call,
    backward_launcher,
    check_gradients,
    gradient_before,
    gradients_given,
)
from tests.codegen.reads import reads_inside
from tests.codegen.writes import writes_once
from tests.gdn_ops.ops.calls import call
from tests.stage_runner import POISON

CASES: dict[str, dict[str, Any]] = {
    "three segments, the last one ragged": {"T": 133, "HV": 1, "B": 2},
    "exactly two segments, two key heads": {"T": 128, "H": 2, "HV": 4},
    "packed, some empty": {"T": 150, "offsets": [0, 0, 5, 5, 70, 141]},
    "packed without states": {"T": 140, "HV": 1, "offsets": [0, 3, 132], "state": False},
    "no gate": {"T": 150, "HV": 1, "gate": "none"},
    "decays at once": {"T": 133, "HV": 1, "gate": "strong"},
    "odd head dims": {"T": 75, "K": 60, "V": 100, "HV": 1},
    "odd head dims, three value heads of a key head": {"T": 75, "K": 100, "V": 20, "HV": 3},
    "half precision": {"T": 133, "HV": 1, "dtype": torch.float16},
    "bf16": {"T": 133, "HV": 1, "dtype": torch.bfloat16},
}


def arguments_of(**facts: Any) -> dict[str, Any]:
    return call(**{"B": 1, "H": 1, "HV": 2, "V": 16, **facts})


@pytest.mark.triton
@pytest.mark.parametrize("name", CASES)
def test_every_gradient_follows_the_rule(name: str) -> None:
    check_gradients(arguments_of(**CASES[name]))


def test_a_call_without_tokens_hands_its_states_gradient_on() -> None:
    x = arguments_of(T=0, B=2)
    given = gradients_given(x)
    found = backward_launcher(x).gradients(backward_call(x, given))
    assert given["dht"] is not None and torch.equal(found["dh0"], given["dht"])
    assert found["dq"].shape == (2, 0, 1, 16)


def segment_ends(x: dict[str, Any], given: Mapping[str, Tensor | None]) -> list[Tensor]:
    """The gradient of the state after each segment in fp64; it depends on no state."""
    do, dht = given["do"], given["dht"]
    assert do is not None and dht is not None
    ends: list[Tensor] = []
    after = torch.empty(0)
    for b, s, n, final in reversed(list(segments_of(x))):
        after = dht[n].double() if final else after
        ends.append(after)
        after = gradient_before(x, b, s, do, after)
    return ends[::-1]


def walked_back(
    x: dict[str, Any],
    given: Mapping[str, Tensor | None],
    stages: dict[str, dict[str, Value]] | None = None,
) -> dict[str, Any]:
    """What the stages up to ``segment_bwd_carry`` made; NaN, or POISON in ``whole``, elsewhere."""
    launcher = backward_launcher(x, stages)
    workspace = launcher.workspace(backward_call(x, given))
    for stage in launcher.stages:
        stage.allocate(workspace, torch.device("cpu"))
        for name in stage.outputs:
            y = workspace.values[name]
            y.fill_(float("nan") if y.is_floating_point() else POISON)
        tensors = [y for y in workspace.values.values() if isinstance(y, Tensor)]
        with reads_inside(tensors), writes_once():
            stage.launch(workspace)
        if stage.name == "segment_bwd_carry":
            break
    return workspace.values


def check_ends(
    x: dict[str, Any], bar: float, stages: dict[str, dict[str, Value]] | None = None
) -> dict[str, Any]:
    given = gradients_given(x)
    found = walked_back(x, given, stages)
    for row, end in enumerate(segment_ends(x, given)):
        assert_close(f"dh_end of segment {row}", end, found["dh_end"][row], bar)
    return found


@pytest.mark.parametrize(
    "facts",
    [
        {"T": 140, "B": 2},
        {"T": 240, "offsets": [0, 0, 70, 235], "gate": "zero"},
        {"T": 200, "HV": 1, "gate": "none"},
    ],
)
def test_every_segment_ends_with_its_gradient(facts: dict[str, Any]) -> None:
    x = arguments_of(**facts)
    found = check_ends(x, 1e-5)
    places = [n for _, _, n, _ in segments_of(x)]
    first = [i for i, n in enumerate(places) if n not in places[:i]]
    assert found["dh_local"][first].isnan().all(), "nothing comes before a sequence"


@pytest.mark.parametrize(
    ("stage", "axes"),
    [
        ("segment_bwd_map", {"loads": "descriptor", "BK": 32, "BV": 64}),
        ("segment_bwd_map", {"dot": "tf32x3", "LIMIT": 10}),
        ("segment_bwd_carry", {"BK": 32, "BV": 64, "merge_dot": "tf32x3"}),
    ],
)
def test_axes_of_the_stages(stage: str, axes: dict[str, Value]) -> None:
    x = arguments_of(T=140, K=48, V=80, HV=1, dtype=torch.float16)
    check_ends(x, 5e-3, {stage: axes})


def test_states_of_segments_in_another_layout() -> None:
    x = arguments_of(T=75, K=48, V=20, HV=1)
    check_gradients(x, {"segment_chunk_h": {"layout": "VK", "loads": "descriptor"}})


def test_behind_a_strong_decay_nothing_is_read() -> None:
    """Of two heads one forgets at once: of the chunks that come later it has not even do."""
    x = arguments_of(T=200)
    x["g"] = torch.full_like(x["g"], -0.01)
    x["g"][..., 0] = -3.0
    given = gradients_given(x)
    ends = segment_ends(x, given)
    assert given["do"] is not None
    given["do"][:, CUT + BT : 2 * CUT, 0] = float("nan")
    found = walked_back(x, given)
    assert found["whole"][:3].tolist() == [[0, 1]] * 3
    assert_close("dh_end of a head that forgets", ends[0][0], found["dh_end"][0, 0], 1e-6)
    assert_close("dh_end of the other", ends[0][1], found["dh_end"][0, 1], 1e-5)


@pytest.mark.parametrize("limit", [10, 20])
def test_what_is_left_out_is_below_its_bound_and_near_it(limit: int) -> None:
    """Tokens of the second segment's first two chunks only decay, and the bound is the error."""
    x = arguments_of(T=200)
    x["g"] = torch.full_like(x["g"], -0.01)
    x["g"][:, CUT : CUT + 2 * BT] = -(limit + 0.1) / (2 * BT)
    x["g"][..., 1] /= 2
    x["beta"][:, CUT : CUT + 2 * BT] = 0
    given = gradients_given(x)
    assert given["do"] is not None
    given["do"][:, CUT : CUT + 2 * BT] = 0
    axes: dict[str, Value] = {"LIMIT": limit}
    found = walked_back(x, given, {"segment_map": axes, "segment_bwd_map": axes})
    assert found["whole"][1].tolist() == [0, 1]
    ends = segment_ends(x, given)
    later = slice(CUT + 2 * BT, 2 * CUT)
    behind = gradient_before(x, 0, later, given["do"], ends[1])
    error = torch.linalg.matrix_norm(found["dh_end"][0] - ends[0])
    bound = exp(-limit) * torch.linalg.matrix_norm(behind)
    assert 0.8 * bound[0] < error[0] <= bound[0]
    assert_close("a head that is not left out", ends[0][1], found["dh_end"][0, 1], 1e-5)


def test_keys_longer_than_one_leave_nothing_out() -> None:
    x = arguments_of(T=150)
    x["k"], x["g"] = torch.zeros_like(x["k"]), torch.full_like(x["g"], -0.2)
    x["k"][..., 0], x["beta"] = 3.0, torch.full_like(x["beta"], 0.25)
    axes: dict[str, Value] = {"LIMIT": 10}
    found = check_ends(x, 1e-5, {"segment_map": axes, "segment_bwd_map": axes})
    assert (found["whole"][:2] == 1).all()


def test_a_sequence_has_the_same_bits_alone_and_packed() -> None:
    packed = arguments_of(T=160, offsets=[0, 70, 145], HV=1)
    given = gradients_given(packed)
    do, dht = given["do"], given["dht"]
    assert do is not None and dht is not None
    alone = {n: x[:, 70:145] for n, x in packed.items() if n in INPUTS}
    alone |= {"initial_state": packed["initial_state"][1:], "cu_seqlens": None}
    one, own = {**packed, **alone}, {"do": do[:, 70:145], "dht": dht[1:]}
    together = backward_launcher(packed).gradients(backward_call(packed, given))
    found = backward_launcher(one).gradients(backward_call(one, own))
    assert torch.equal(together.pop("dh0")[1:], found.pop("dh0"))
    for name, value in found.items():
        assert torch.equal(together[name][:, 70:145], value), name


def test_a_rendered_file_has_no_line_over_100_columns() -> None:
    for facts in ({"K": 100, "V": 60, "HV": 3}, {"HV": 1, "offsets": [0, 9], "state": False}):
        launcher = backward_launcher(arguments_of(T=9, dtype=torch.bfloat16, **facts))
        for stage in launcher.stages:
            for axes in ({}, {"loads": "descriptor"}, {"layout": "VK"}, {"dot": "ieee"}):
                own = {n: v for n, v in axes.items() if n in stage.config}
                source = render(stage.spec, launcher.problem, {**stage.config, **own})
                assert max(map(len, source.splitlines())) <= 100, stage.name
