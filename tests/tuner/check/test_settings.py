"""Which limits and which exemption a row has."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.gate import Limits
from gdn_ops.tuner.check.settings import Exemption, RowSettings, Settings

NAME = "forward-scalar-delta-N1-L2048-H16-HV32-K128-V128-bf16-ht"
DAY = date(2030, 1, 31)


def exemption(match: str = "*", target: str = "*", expires: date = DAY) -> Exemption:
    return Exemption(match=match, target=target, reason="to be re-tuned", expires=expires)


def test_without_settings_the_defaults_hold() -> None:
    assert Settings().limits(NAME, "h200") == Limits(threshold=0.03, floor=0.0)
    assert Settings().exemption(NAME, "h200", DAY) is None
    assert Settings().static.instructions == 0.02
    assert Settings().unmatched([(NAME, "h200")]) == ()


def test_later_rows_win_in_what_they_set() -> None:
    settings = Settings(
        threshold=0.05,
        rows=(
            RowSettings(match="*", floor=0.01),
            RowSettings(match="forward-*", threshold=0.08, floor=0.02),
            RowSettings(match="forward-*", target="h*", threshold=0.10),
            RowSettings(match="backward-*", threshold=0.5),
        ),
    )
    assert settings.limits(NAME, "h200", noise=0.02) == Limits(
        threshold=0.10, floor=0.02, noise=0.02
    )
    assert settings.limits(NAME, "b200") == Limits(threshold=0.08, floor=0.02)
    assert settings.limits("decode-x", "b200") == Limits(threshold=0.05, floor=0.01)


@given(st.permutations(range(6)))
def test_the_last_row_that_matches_wins(order: list[int]) -> None:
    rows = tuple(
        RowSettings(match="forward-*" if i % 2 else "decode-*", threshold=0.01 * (i + 1))
        for i in order
    )
    last = [i for i in order if i % 2][-1]
    assert Settings(rows=rows).limits(NAME, "cpu").threshold == 0.01 * (last + 1)


def test_names_match_in_their_case() -> None:
    settings = Settings(rows=(RowSettings(match="Forward-*", threshold=0.5),))
    assert settings.limits(NAME, "h200").threshold == 0.03


def test_a_floor_over_the_threshold_is_refused_with_the_row() -> None:
    settings = Settings(
        floor=0.02, file="gdn-check.toml", rows=(RowSettings(match="*", threshold=0.01),)
    )
    says = r"^gdn-check.toml: row 'decode-x' on h200: a floor of 2% .* threshold, 1%; lower"
    with pytest.raises(InvalidInput, match=says):
        settings.limits("decode-x", "h200")


@given(st.dates(date(2026, 1, 1), date(2040, 1, 1)))
def test_an_exemption_holds_until_its_day(today: date) -> None:
    assert exemption().holds(today) == (today < DAY)


def test_an_exemption_says_that_it_expired() -> None:
    before = exemption().text(DAY - timedelta(days=1))
    assert before == "Exempt until 2030-01-31: to be re-tuned"
    assert "expired on 2030-01-31 (to be re-tuned); repair" in exemption().text(DAY)


def test_the_last_exemption_that_holds_is_the_rows() -> None:
    later = exemption(expires=DAY + timedelta(days=9))
    settings = Settings(
        exemptions=(
            exemption("decode-*", expires=date.max),
            later,
            exemption("forward-*", "h200"),
        )
    )
    assert settings.exemption(NAME, "h200", DAY - timedelta(days=1)) is settings.exemptions[2]
    assert settings.exemption(NAME, "h200", DAY) is later
    assert settings.exemption(NAME, "h200", DAY + timedelta(days=9)) is settings.exemptions[2]
    assert settings.exemption("pool-x", "cpu", DAY) is later


def test_entries_that_match_nothing_are_reported() -> None:
    settings = Settings(
        file="gdn-check.toml",
        rows=(
            RowSettings(match="forward-*", threshold=0.1),
            RowSettings(match="forwrad-*", threshold=0.1),
        ),
        exemptions=(exemption("decode-*", "h2000"), exemption("forward-*", "cpu")),
    )
    row, exempt = settings.unmatched([(NAME, "cpu"), ("decode-x", "cpu")])
    assert row == (
        "gdn-check.toml: [[row]] 2 (match 'forwrad-*', target '*') matches none of the 2 rows of "
        "this check; correct it, remove it, or give it a target that this check does not have."
    )
    # a target that does not exist
    assert exempt.startswith("gdn-check.toml: [[exempt]] 1 (match 'decode-*', target 'h2000')")


@pytest.mark.parametrize("target", ["h200", "sm_90", "gfx9*", "H200"])
def test_entries_for_other_machines_are_not_reported(target: str) -> None:
    settings = Settings(file="f", exemptions=(exemption("decode-*", target),))
    unmatched = settings.unmatched([(NAME, "cpu")])
    assert len(unmatched) == (target == "H200")  # names of targets are in lower case
