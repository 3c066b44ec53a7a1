"""What a kernel needs of its launch besides a grid, a block and shared memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gdn_ops.codegen.compiled.launch_needs import LaunchNeeds


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"num_ctas": 2}, "it runs in clusters of 2 blocks"),
        ({"launch_cooperative_grid": True}, "all of its blocks must run at once"),
        ({"launch_pdl": True}, "programmatic dependent launch"),
        ({"global_scratch_size": 256}, "it needs 256 bytes of scratch in device memory"),
        ({"profile_scratch_size": 8}, "it was compiled with a profiler, which needs 8 bytes"),
        ({"tensordesc_meta": [{}, {}]}, "2 of its arguments are tensor descriptors"),
    ],
)
def test_each_need_of_a_launch_is_a_sentence(metadata: dict[str, Any], says: str) -> None:
    assert LaunchNeeds.of(SimpleNamespace(num_warps=4)).unplain() == []
    plain = {"num_ctas": 1, "launch_pdl": False, "global_scratch_size": 0, "tensordesc_meta": []}
    (sentence,) = LaunchNeeds.of(SimpleNamespace(**(plain | metadata))).unplain()
    assert says in sentence and ("; use " in sentence or "; compile " in sentence)
