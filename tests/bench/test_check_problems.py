"""The problems that slow-downs are planted in."""

from __future__ import annotations

from bench.check.problems import problems
from gdn_ops.codegen.targets import CPU_ARCHS, target_named
from gdn_ops.dispatch.choice import choose


def test_all_run_on_the_stage_that_is_planted() -> None:
    for arch in CPU_ARCHS:
        for problem in problems():
            variant = choose(problem, target_named(f"cpu-{arch}")).variant
            assert [name for name, _ in variant.stages] == ["torch_chunk"], problem.id()
