"""What the inverse and the backward of fused_sm90 are compiled to: counted, as nothing runs it."""

from __future__ import annotations

import pytest

from tests.codegen.compiled.counted import counted


@pytest.mark.exhaustive
@pytest.mark.triton
def test_inverse_and_gradients_take_few_instructions_and_keep_their_states_in_registers() -> None:
    found = counted("fused_sm90_counts")
    walks, grads, solve = found["walks"], found["grads"], found["solve"]
    assert walks["reasons"] == grads["reasons"] == grads["races"] == []
    assert walks["stack"] == grads["stack"] == solve["stack"] == 0
    assert solve["fp16"] <= 2400 and solve["tf32x3"] <= 9000
    assert {name: walks[name]["products"] for name in ("there", "back", "score")} == {
        "there": 16, "back": 24, "score": 8,
    }  # fmt: skip
    for name, most in (("there", 450), ("back", 510), ("score", 330)):
        assert walks[name]["instructions"] <= most, name
        assert walks[name]["waits"] <= 5, name
    assert grads["products"] == 116 and grads["instructions"] <= 3200
    assert any("s_n" in race for race in found["planted"])
