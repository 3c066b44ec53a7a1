"""The workspace: intermediates share memory only if they never coexist."""

from __future__ import annotations

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.cubins.kernel_set import kernel_set, stages_of
from gdn_ops.tuner.export.cubins.workspace import slots
from tests.tuner.export.cubins.test_formula import CASES


@pytest.mark.parametrize(("problem", "variant"), CASES, ids=lambda x: str(x)[:60])
def test_what_a_stage_needs_is_not_overwritten(problem: Problem, variant: Variant) -> None:
    own = kernel_set(variant, problem, dict.fromkeys(KERNELS, ""))
    places = {b["name"]: b["slot"] for b in own["buffers"] if b["role"] == "workspace"}
    stages = stages_of(variant, problem)
    uses = [(s.inputs(problem, c), s.outputs(problem, c)) for s, c in stages]
    for at in range(len(uses)):
        before = {name for _, written in uses[: at + 1] for name in written}
        after = {name for read, _ in uses[at:] for name in read} | set(uses[at][1])
        live = [name for name in before & after if name in places]
        assert len({places[name] for name in live}) == len(live), (at, live)
    assert set(places.values()) == set(range(len(set(places.values()))))


def test_equal_sizes_share_first() -> None:
    """``c`` may have the place of ``a`` or ``b``, and is as large as ``b``; ``d`` gets a's."""
    stages = [
        ((), ("a", "b")), (("a", "b"), ("x",)), (("x",), ("c", "d")), (("c", "d"), ("out",)),
    ]  # fmt: skip
    sizes = {"a": "T", "b": "2 * T", "x": "T", "c": "2 * T", "d": "3 * T"}
    assert slots(stages, sizes) == {"a": 0, "b": 1, "x": 2, "c": 1, "d": 0}
