"""What the walk of scan_sm90 is compiled to for Hopper: counted, as nothing here runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import triton

MOST = 570 if triton.__version__.startswith("3.9.") else 550
"""Instructions per warp and chunk; the assembler of Triton 3.9 moves more uniform registers."""


@pytest.mark.triton
def test_a_chunk_takes_few_instructions_and_waits_and_its_state_stays_in_registers() -> None:
    command = [sys.executable, "-m", "tests.codegen.compiled.scan_sm90_counts"]
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found = json.loads(out.stdout)
    assert found["reasons"] == []
    assert found["stack"] == 0
    assert {"UTMALDG", "UTMASTG"} <= found["copies"].keys()
    walk, score = found["walk"], found["score"]
    assert (walk["products"], score["products"]) == (28, 8)
    for loop in (walk, score):
        assert loop["instructions"] <= MOST
        assert loop["waits"] <= 5
    # 64 x 64 outputs of 2 bytes, stored by 4 warps 512 bytes at a time: the state is not among them
    assert walk["stores"] == 64 * 64 * 2 // (4 * 512)
