"""The Markdown report, read as GitHub would: tables, escapes, folding and the limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from markdown_it import MarkdownIt

from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.reports.markdown import LIMIT, render
from tests.tuner.check.reports import outcomes

MEASURED = """\
## gdn check: failed

1 of 2 rows is worse: 1 regressed.

Compared: working tree against 3f2a91c (main), measured on NVIDIA H200 in 132 s.

1 regressed, 1 improved; geometric mean of 2 ratios 0.984.

Environment: device NVIDIA H200, driver 580.2, torch 2.13.0, triton 3.7.1

| problem | base | head | ratio | 95 % interval | pairs | state | remarks |
| :-- | --: | --: | --: | --: | --: | :-- | :-- |
| **`forward-scalar-delta-N1-L4096-H16-HV32-K128-V128-bf16-ht`** | **23.5 ms** | **24.7 ms** | \
**1.052** | **1.044 .. 1.060** | **12 (2)** | **regressed** | \
**confirmed by a second run; 2 pairs were dropped: the device was throttled** |
| `forward-scalar-delta-N1-L2048-H16-HV32-K128-V128-bf16-ht` | 23.4 ms | 21.6 ms | \
0.920 | 0.913 .. 0.927 | 8 | improved |  |
"""


def tables(text: str) -> list[list[list[str]]]:
    """The cells' texts by table and row, headings left out."""
    found: list[list[list[str]]] = []
    inside = False
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "tbody_open":
            found.append([])
        inside = (inside or token.type == "tbody_open") and token.type != "tbody_close"
        if inside and token.type == "tr_open":
            found[-1].append([])
        elif inside and token.type == "inline":
            parts = token.children or []
            shown = [p.content for p in parts if p.type in ("text", "text_special", "code_inline")]
            found[-1][-1].append("".join(shown))
    return found


def test_as_a_reader_sees_it() -> None:
    rows = outcomes.measured().rows
    assert render(replace(outcomes.measured(), rows=rows[2:4])) == MEASURED


@pytest.mark.parametrize("make", outcomes.ALL.values(), ids=outcomes.ALL)
def test_every_row_is_a_row_of_a_table(make: Callable[[], Outcome]) -> None:
    outcome = make()
    found = [row for table in tables(render(outcome)) for row in table]
    columns = 5 if outcome.kind == "static" else 8
    assert len(found) == len(outcome.rows)
    assert all(len(row) == columns for row in found)


def test_failing_rows_come_first_and_are_bold() -> None:
    text = render(outcomes.measured())
    lines = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    bold = [line.startswith("| **`") for line in lines]
    assert bold == [True] * 3 + [False] * 8
    states = [row[6] for row in tables(text)[0]]
    assert states[:3] == ["wrong", "crashed", "regressed"]
    assert "regressed, exempt: the gradients' rewrite is on its way (until 2027-01-31)" in states


def test_texts_from_outside_are_shown_as_they_are() -> None:
    text = render(outcomes.hostile())
    (table,) = tables(text)
    line = "@triton.jit line 2\\x00\\x1b[31m\\x7f ü中 \\ud800 100 % x,y:z **b**"
    plain = f"]]> a|b `c` <script> {line}"
    assert [row[0] for row in table][1] == plain.replace("`", "'")
    assert table[1][7] == f"{plain}; {plain}"
    assert "\x1b" not in text and "\x00" not in text
    assert "@triton" not in text.replace("`]]> a\\|b 'c' <script> @triton.jit", "")
    text.encode()


def test_many_rows_are_folded() -> None:
    text = render(outcomes.many())
    worse, rest = tables(text)
    assert len(worse) == 50 and len(rest) == 450
    ratios = [float(row[3]) for row in worse]
    assert ratios == sorted(ratios, reverse=True)
    assert text.index("<details><summary>450 more rows: 450 passed</summary>") < text.index("L64-")
    assert text.rstrip().endswith("</details>")
    assert "<details>" not in render(outcomes.measured())


@pytest.mark.parametrize("limit", [1 << 16, 20_000, 10_000, 3000, 800])
def test_rows_are_left_out_whole_to_keep_the_limit(limit: int) -> None:
    outcome = outcomes.many()
    text = render(outcome, limit=limit)
    assert limit - 300 < len(text.encode()) <= limit or limit == 800
    kept = [row for table in tables(text) for row in table]
    assert all(len(row) == 8 and row[7].endswith("length") for row in kept)
    left_out = len(outcome.rows) - len(kept)
    assert f"{left_out} more of 500 rows are left out; the JSON report has all." in text
    assert text.count("<details>") == text.count("</details>")


def test_the_headline_is_always_written() -> None:
    assert render(outcomes.many(), limit=10) == "## gdn check: failed\n"


def test_a_summary_of_github_has_room_for_thousands_of_rows() -> None:
    text = render(outcomes.many(8000))
    assert LIMIT - 300 < len(text.encode()) <= LIMIT
    assert "rows are left out" in text


def test_an_interruption_and_an_empty_check_are_said() -> None:
    text = render(outcomes.interrupted())
    assert text.startswith("## gdn check: interrupted\n")
    assert "None of 4 rows is known to be worse; interrupted before every row was decided." in text
    assert "7 problems were not compared." in text
    assert "There was nothing to compare." in render(outcomes.empty())
