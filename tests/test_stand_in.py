"""The stand-in GPU: as strict as one, and a part of the GPU's own tests on it.

All of them: ``python -m tests.stand_in pytest tests/gpu``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
PARTS = (
    "tests/stand_in",
    "tests/gpu -k (captured_call_replays and case1 and (fused1 or split)) or first_call "
    "or (thirty and (fused1-bf16 or recurrent-decode)) or (gradients and not sm100)",
)


@pytest.mark.parametrize("part", PARTS)
def test_a_gpu_is_stood_in_for(part: str) -> None:
    where, *chosen = part.split(" ", 2)
    command = [sys.executable, "-m", "tests.stand_in", "pytest", "-q", "-p", "no:xdist"]
    run = subprocess.run(
        [*command, where, *chosen], cwd=ROOT, capture_output=True, text=True, check=False
    )
    summary = run.stdout.splitlines()[-1:]
    assert run.returncode == 0 and "skipped" not in str(summary), run.stdout[-4000:] + run.stderr
