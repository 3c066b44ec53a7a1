"""What the forward walks in Gluon are compiled to: counted, as nothing here runs it."""

from __future__ import annotations

from typing import Any

import pytest
import triton

from tests.codegen.compiled.counted import counted

NEWER = triton.__version__.startswith(("3.8.", "3.9."))
MOST = 570 if triton.__version__.startswith("3.9.") else 550
"""Instructions per warp and chunk; the assembler of Triton 3.9 moves more uniform registers."""


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return counted("gluon_scan_counts", "128", "scan_sm90", "scan_sm100")


@pytest.mark.triton
def test_on_hopper_a_chunk_takes_few_instructions_and_its_state_stays_in_registers(
    found: dict[str, Any],
) -> None:
    hopper = found["scan_sm90"]
    assert hopper["reasons"] == []
    assert hopper["stack"] == 0
    assert {"UTMALDG", "UTMASTG"} <= hopper["copies"].keys()
    walk, score = hopper["walk"], hopper["score"]
    assert (walk["products"], score["products"]) == (28, 8)
    for loop in (walk, score):
        assert loop["instructions"] <= MOST
        assert loop["waits"] <= 5
    # loaded where it is needed in place of a chunk ahead, gc would make score's chain the longest
    score_cycles, walk_cycles = hopper["cycles"]
    assert NEWER or score_cycles < walk_cycles
    # 64 x 64 outputs of 2 bytes, stored by 4 warps 512 bytes at a time: the state is not among them
    assert walk["stores"] == 64 * 64 * 2 // (4 * 512)


def check_blackwell(found: dict[str, Any], dim: int, columns: int, most: int) -> None:
    assert found["reasons"] == []
    # Triton 3.8 and 3.9 put the thread's number on the stack, before the loops
    assert found["stack"] <= (16 if NEWER else 0)
    assert found["tensor memory"] == columns
    walk, score = found["walk"], found["score"]
    assert (walk["products"], score["products"]) == (2 * dim // 16 + 12, dim // 16)
    assert (walk["waits"], score["waits"]) == (5, 2)
    assert walk["instructions"] <= most
    assert score["instructions"] <= 340
    assert walk["barriers"] <= (14 if NEWER else 10)
    # S k^T, S q^T and n k, x A^T and n P^T with dim rows: 8192 FLOPs per cycle with 128 of them and
    # half of it with 64; q k^T has 64 rows
    assert found["products"] == [32 * dim // 16, 2 * (3 * 64 * dim + 2 * 64 * 64) * 128 / 8192]
    # the products' descriptors and starts: one warp of 4 and of 8
    assert all(20 <= alone <= 200 for alone in found["alone"])
    assert {4, 8} == set(found["warps"])
    assert walk["spilled"] == score["spilled"] == 0
    # BT x dim outputs of 2 bytes, stored by 8 warps 512 bytes at a time: no tile besides
    assert walk["stores"] == 64 * dim * 2 // (8 * 512)


@pytest.mark.triton
def test_on_blackwell_a_chunk_takes_few_instructions_and_no_stack(found: dict[str, Any]) -> None:
    check_blackwell(found["scan_sm100"], 128, columns=512, most=660)


@pytest.mark.triton
@pytest.mark.exhaustive
def test_on_blackwell_heads_of_64_take_no_stack_either() -> None:
    check_blackwell(
        counted("gluon_scan_counts", "64", "scan_sm100")["scan_sm100"], 64, columns=256, most=400
    )
