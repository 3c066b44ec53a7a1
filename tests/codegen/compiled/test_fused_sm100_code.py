"""What the backward of fused_sm100 is compiled to: counted, as nothing here runs it."""

from __future__ import annotations

import pytest

from tests.codegen.compiled.counted import counted


@pytest.mark.exhaustive
@pytest.mark.triton
def test_walks_and_gradients_take_few_instructions_and_no_stack() -> None:
    found = counted("fused_sm100_counts")
    for dim, there, back in ((128, 480, 600), (64, 300, 380)):
        walks, grads = found[str(dim)]["walks"], found[str(dim)]["grads"]
        assert walks["reasons"] == grads["reasons"] == []
        assert walks["stack"] == grads["stack"] == 0
        depth = dim // 16
        for name, products, most in (("there", depth + 8, there), ("back", depth + 16, back)):
            assert walks[name]["products"] == products, name
            assert walks[name]["instructions"] <= most, name
            # four barriers, and the copy out of the chunk before
            assert walks[name]["waits"] == 5, name
        # nine products sum over channels, and seven over the tokens of a chunk
        assert grads["products"] == 9 * depth + 7 * 4 and grads["tensor"] > 0
        assert grads["instructions"] <= 4300
