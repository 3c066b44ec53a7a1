"""The table of the terminal: what its cells say, how wide it is, and what stands below it."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.reports import spark, table
from gdn_ops.tuner.check.reports.row_text import interval_text
from gdn_ops.tuner.check.reports.table import Layout, closing, show, table_of
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.report import console
from tests.tuner.check.reports import outcomes


def test_a_row_in_one_line() -> None:
    shown = table_of(outcomes.measured(), Layout())
    assert shown.columns == (
        "problem<",
        "base>",
        "head>",
        "ratio>",
        "95 % interval>",
        "pairs (dropped)",
        "pair ratios<",
        "state",
    )
    name, base, head, ratio, interval, pairs, line, state = shown.rows[3]
    assert name == outcomes.problem_name(4096)
    assert (base, head, ratio, interval) == ("23.5 ms", "24.7 ms", "1.052", "1.044 .. 1.060")
    assert pairs == "12 (2)" and len(line) == 12 and set(line) <= set("▄▅▆▇")
    assert state == (
        "regressed: confirmed by a second run; 2 pairs were dropped: the device was throttled"
    )
    assert [row[0] for row in shown.rows] == [row.name for row in outcomes.measured().rows]
    assert shown.rows[0][1:7] == ("",) * 6


def test_failing_rows_stand_out() -> None:
    rows = outcomes.measured().rows
    styles = table_of(outcomes.measured(), Layout()).styles
    assert [r for r, s in zip(rows, styles, strict=True) if "red" in s] == [
        row for row in rows if row.failing
    ]


def test_differences_of_static_rows() -> None:
    shown = table_of(outcomes.static(), Layout())
    assert shown.columns == ("kernel<", "target<", "differences", "state")
    assert shown.rows[1] == (
        "split/chunk_o BT=64",
        "sm_90",
        "registers 128 -> 168 (template); spilled bytes 0 -> 64 (template and compiler)",
        "regressed: a spilled byte more fails",
    )
    assert "\n" in table_of(outcomes.static(), Layout(width=80)).rows[1][2]


def test_closing_lines() -> None:
    lines = closing(outcomes.measured())
    worse = [row.name for row in outcomes.measured().failing]
    assert [line.split(" on h200: ")[0] for line in lines[:3]] == worse
    assert lines[0].endswith(
        ": regressed; 1.052 times the base's time (95 % interval 1.044 .. 1.060), "
        "23.5 ms -> 24.7 ms; confirmed by a second run; "
        "2 pairs were dropped: the device was throttled."
    )
    assert lines[3:] == (
        "1 wrong, 1 crashed, 2 regressed, 1 inconclusive, 1 environment changed, 1 removed, "
        "1 new, 1 improved, 1 passed, 1 unchanged; geometric mean of 5 ratios 1.054",
        "working tree against 3f2a91c (main), measured on NVIDIA H200 in 132 s",
        "failed: 3 of 11 rows are worse: 1 wrong, 1 crashed, 1 regressed (exit code 1).",
    )


@pytest.mark.parametrize(
    ("keep", "strict", "last"),
    [
        ({State.PASSED}, False, "passed: none of 1 row is worse (exit code 0)."),
        (
            {State.ENVIRONMENT},
            False,
            "undecided: none of 1 row is known to be worse, but 1 environment changed "
            "(exit code 0).",
        ),
        (
            {State.ENVIRONMENT, State.PASSED},
            True,
            "incomparable: 1 of 2 rows could not be compared, which fails a strict check: "
            "1 environment changed (exit code 3).",
        ),
        ({State.WRONG}, True, "failed: 1 of 1 row is worse: 1 wrong (exit code 1)."),
        (set(), False, "passed: there was nothing to compare (exit code 0)."),
    ],
)
def test_the_last_line_says_why(keep: set[State], strict: bool, last: str) -> None:
    rows = tuple(row for row in outcomes.measured().rows if row.state in keep)
    assert closing(replace(outcomes.measured(), rows=rows, strict=strict))[-1] == last


def test_exempt_rows_do_not_fail_the_check_and_are_counted() -> None:
    rows = outcomes.measured().rows[4:5]
    assert closing(replace(outcomes.measured(), rows=rows))[-1] == (
        "passed: none of 1 row is worse, except 1 that is exempt (exit code 0)."
    )


def test_an_interruption_is_the_last_word() -> None:
    assert closing(outcomes.interrupted())[-1] == (
        "interrupted: none of 4 rows is known to be worse; "
        "interrupted before every row was decided."
    )


def test_many_unchanged_rows_are_counted_only() -> None:
    unchanged = tuple(
        outcomes.row(f"a{i}", State.UNCHANGED) for i in range(table.LISTED_UNCHANGED + 1)
    )
    outcome = replace(outcomes.measured(), rows=(*unchanged, *outcomes.measured().rows[1:3]))
    assert len(table_of(outcome, Layout()).rows) == 2
    assert f"{len(unchanged)} unchanged rows are not listed." in closing(outcome)
    fewer = replace(outcome, rows=outcome.rows[1:])
    assert len(table_of(fewer, Layout()).rows) == len(fewer.rows)


def test_too_few_pairs_have_no_interval() -> None:
    few, none = table_of(outcomes.interrupted(), Layout()).rows[2:]
    assert few[3:6] == ("1.020", "-", "3") and few[7] == "inconclusive: interrupted after 3 pairs"
    assert none[1:7] == ("-", "-", "-", "-", "0", "")
    assert "geometric mean of 2 ratios" in closing(outcomes.interrupted())[-3]


def test_times_of_a_stored_base_have_no_pairs() -> None:
    row = outcomes.measured().rows[3]
    assert row.times is not None
    apart = replace(row.times, base=row.times.base[:5], paired=False, dropped=0)
    outcome = replace(outcomes.measured(), rows=(replace(row, times=apart),))
    assert table_of(outcome, Layout()).rows[0][5:7] == ("5 + 12 apart", "")


@pytest.mark.parametrize("width", [80, 120, 160])
@pytest.mark.parametrize("make", outcomes.ALL.values(), ids=outcomes.ALL)
def test_it_fits_the_terminal(
    make: Callable[[], Outcome], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = make()
    outcome = replace(outcome, rows=outcome.rows[:20])
    shown = table_of(outcome, Layout(width=width))
    screen = io.StringIO()
    terminal = Console(file=screen, width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr(console, "_console", lambda: terminal)
    console.table(shown.columns, shown.rows, title=shown.title, styles=shown.styles)
    text = screen.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    # nothing was cut, and a number is in one piece
    assert "…" not in text
    for row in outcome.rows:
        if row.times is not None:
            assert interval_text(row.times) in text


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("make", [outcomes.measured, outcomes.static, outcomes.hostile])
def test_any_encoding_carries_it(
    make: Callable[[], Outcome], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    show(make())
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert "\x1b" not in text and "\x00" not in text
    timed = any(row.times is not None for row in make().rows)
    levels = spark.BLOCKS if encoding == "utf-8" else spark.ASCII
    assert (f"{levels[3]} is 1.00" in text) == timed
    assert "working tree against" in text or "ud800" in text


def test_levels_are_centred_at_one() -> None:
    limit = 0.09
    assert spark.spark([1.0, 1.09, 1 / 1.09, 5.0, 0.1], limit) == "▄▇▁▇▁"
    assert spark.spark([1.0, 1.03, 1 / 1.03, 1.06], limit, "abcdefg") == "decf"
    assert spark.legend(limit, spark.ASCII).endswith(
        "= is 1.00, _ is 0.92 or less, # is 1.09 or more."
    )
    assert len(spark.ASCII) == len(spark.BLOCKS) and len(spark.BLOCKS) % 2
    assert spark.ASCII.isascii()


def test_a_level_is_about_a_threshold_wide() -> None:
    assert spark.limit_of(outcomes.measured().rows) == pytest.approx(0.09)
    assert spark.limit_of([]) == pytest.approx(0.09)
