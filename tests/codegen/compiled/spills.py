"""Bytes of the stack that a compiler uses where the others need none.

Triton brings its own LLVM and ptxas, whose allocation of registers differs by a few between
versions. A default that needs no stack under most of them stands, for these spills are of a few
registers outside the loops or of one in them.
"""

from __future__ import annotations

from typing import Any

import pytest
import triton

from gdn_ops.tuner.check.static.baseline import FOLDER, baseline_file, read_baseline

IN_BASELINES = read_baseline(baseline_file(FOLDER, "sm_90"), "sm_90").compiler.triton
"""Triton's version of the committed baselines of compiled code."""
UNLESS_IN_BASELINES: Any = pytest.mark.exhaustive if triton.__version__ == IN_BASELINES else ()
"""For a case whose dense kernels `gdn check --static` compiles when their source changes, and
``tests/tuner/check/static/test_committed.py`` with it: it runs under the other Tritons."""
VERSION = ".".join(triton.__version__.split(".")[:2])
STACK = {
    ("3.6", "chunk_scores", "b200", "bf16"): 16,
    ("3.6", "scan", "a100", "bf16"): 24,
    ("3.8", "solve", "a100", "bf16"): 8,
    ("3.8", "chunk_wu", "h200", "fp32"): 8,
    ("3.9", "chunk_wu", "h200", "fp32"): 8,
    ("3.9", "pool_decode", "h200", "bf16"): 8,
}


def stack_of(stage: str, target: str, dtype: str) -> int:
    """What a stage's default config may have on the stack under the Triton that runs."""
    return STACK.get((VERSION, stage, target, dtype), 0)
