"""What the walks of segmented_sm90 are compiled to for Hopper: counted, as nothing runs them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.codegen.compiled.counted import counted
from tests.codegen.compiled.test_gluon_scan_code import MOST

SHARED_PER_SM, RESERVED, REGISTERS_PER_SM = 228 * 1024, 1024, 64 * 1024


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return counted("segmented_sm90_counts")


@pytest.mark.exhaustive
@pytest.mark.triton
@pytest.mark.parametrize("layout", ["dense", "packed"])
def test_a_segment_is_mapped_by_few_instructions_and_two_programs_fit_an_sm(
    found: dict[str, Any], layout: str
) -> None:
    kernel = found[f"segment_map_sm90 {layout}"]
    assert (kernel["stack"], kernel["reasons"]) == (0, [])
    walk = kernel["walk"]
    assert walk["products"] == 16
    assert walk["instructions"] <= 410 and walk["waits"] <= 5
    assert walk["stores"] == 0, "the state does not go through shared memory"
    assert 2 * (kernel["shared"] + RESERVED) <= SHARED_PER_SM
    assert 2 * kernel["registers"] <= REGISTERS_PER_SM


@pytest.mark.exhaustive
@pytest.mark.triton
@pytest.mark.parametrize("layout", ["dense", "packed"])
def test_a_segment_is_scanned_as_a_sequence_is(found: dict[str, Any], layout: str) -> None:
    kernel = found[f"segment_scan_sm90 {layout}"]
    assert (kernel["stack"], kernel["reasons"]) == (0, [])
    assert (kernel["walk"]["products"], kernel["score"]["products"]) == (28, 8)
    for loop in (kernel["walk"], kernel["score"]):
        assert loop["instructions"] <= MOST and loop["waits"] <= 5
    # the outputs, as in scan_sm90: the state is not among them
    assert kernel["walk"]["stores"] == 64 * 64 * 2 // (4 * 512)


@pytest.mark.exhaustive
@pytest.mark.triton
@pytest.mark.parametrize("layout", ["dense", "packed"])
def test_a_segment_is_walked_for_gradients_as_a_sequence_is(
    found: dict[str, Any], layout: str
) -> None:
    kernel = found[f"segment_bwd_walks_sm90 {layout}"]
    assert (kernel["stack"], kernel["reasons"]) == (0, [])
    for name, most in (("there", 450), ("back", 510), ("score", 330)):
        assert kernel[name]["instructions"] <= most and kernel[name]["waits"] <= 5, name


@pytest.mark.exhaustive
@pytest.mark.triton
@pytest.mark.parametrize("layout", ["dense", "packed"])
def test_a_segment_is_mapped_back_as_a_sequence_is_walked_back(
    found: dict[str, Any], layout: str
) -> None:
    kernel = found[f"segment_bwd_map_sm90 {layout}"]
    assert (kernel["stack"], kernel["reasons"]) == (0, [])
    for name, most in (("walk", 500), ("score", 330)):
        assert kernel[name]["instructions"] <= most and kernel[name]["waits"] <= 5, name
    assert kernel["walk"]["stores"] == 0, "the gradient does not go through shared memory"
