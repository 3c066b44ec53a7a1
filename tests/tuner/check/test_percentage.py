"""Percentages as users write them."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.percentage import percent_text, percentage


@pytest.mark.parametrize(
    ("text", "fraction"),
    [("3%", 0.03), ("0%", 0.0), ("0.5 %", 0.005), (" .5%", 0.005), ("100%", 1.0), ("7%", 0.07)],
)
def test_a_percentage_is_a_fraction(text: str, fraction: float) -> None:
    assert percentage(text, of="--threshold") == fraction


@given(st.integers(0, 10**6).map(lambda n: n / 10**6))
def test_what_is_printed_can_be_read(fraction: float) -> None:
    assert percentage(percent_text(fraction), of="it") == pytest.approx(fraction, abs=1e-12)


@pytest.mark.parametrize(
    "given_",
    ["3", 3, 0.03, True, None, nan, inf, "", "%", "-1%", "+1%", "1e1%", "nan%", "inf%", "3%%",
     "3 percent", "٣%", "1,5%", "3.%", ["3%"]],
)  # fmt: skip
def test_anything_else_is_refused_with_the_remedy(given_: object) -> None:
    with pytest.raises(InvalidInput, match=r'^--floor is .* no percentage; write .* "3%"'):
        percentage(given_, of="--floor")


@pytest.mark.parametrize("text", ["100.1%", "250%", "9" * 5000 + "%"])
def test_more_than_everything_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r'give at most "100%"') as raised:
        percentage(text, of="--floor")
    assert len(str(raised.value)) < 200
