"""The time of a session is shared by what the calls of each problem cost together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from gdn_ops.codegen.targets import target_named
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.tuner import deadline
from gdn_ops.tuner.campaign import run_campaign
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.report.progress import ProblemStarted
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.search.time_shares import EQUAL_PART, time_shares
from tests.gdn_ops.dispatch.test_choice import winner
from tests.problems import DECODE, FORWARD
from tests.tuner.search.recorded import PROBLEM, RecordedHarness, bench, toy_plans

H200 = target_named("h200")
LONG, SHORT = (replace(FORWARD, tokens=n).bucket() for n in (8192, 64))
DECODED = DECODE.bucket()


def test_measured_times_count(tmp_path: Path) -> None:
    table = WinnerTable((winner(LONG, median=3e-3), winner(SHORT, median=1e-3)))
    counts = {LONG.id(): 10, SHORT.id(): 90}
    shares = time_shares([LONG, SHORT], counts, H200, table)
    assert [share.problem for share in shares] == [SHORT, LONG]
    assert all(share.measured for share in shares)
    assert [share.share for share in shares] == pytest.approx(
        [EQUAL_PART / 2 + (1 - EQUAL_PART) * part for part in (0.75, 0.25)]
    )


def test_a_time_that_is_not_measured_is_scaled_from_one_that_is() -> None:
    counts = {LONG.id(): 1, SHORT.id(): 1, DECODED.id(): 1}
    plain = {
        s.problem: s for s in time_shares([LONG, SHORT, DECODED], counts, H200, WinnerTable(()))
    }
    table = WinnerTable((winner(SHORT, median=100 * plain[SHORT].seconds),))
    scaled = {s.problem: s for s in time_shares([LONG, SHORT, DECODED], counts, H200, table)}
    # the nearest winner for the long one; for decode, which has none, what the others have
    for problem in (LONG, SHORT, DECODED):
        assert scaled[problem].seconds == pytest.approx(100 * plain[problem].seconds)
    assert [p for p, share in scaled.items() if share.measured] == [SHORT]
    assert sum(share.share for share in scaled.values()) == pytest.approx(1.0)
    assert plain[LONG].seconds > plain[SHORT].seconds
    assert not any(share.measured for share in plain.values())


def test_a_prediction_or_another_gpu_is_no_measured_time() -> None:
    for change in ({"provenance": "predicted"}, {"target": "h100"}):
        (share,) = time_shares([LONG], {}, H200, WinnerTable((winner(LONG, **change),)))
        assert (share.count, share.seconds, share.measured) == (1, 1e-3, False)


def test_a_campaign_gives_each_problem_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    problems = [PROBLEM, replace(PROBLEM, tokens=128)]
    with toy_plans("single"), bench(tmp_path / "r.db", RecordedHarness()) as b:
        run_campaign(
            problems, b.context, options=Options(trials=1), interruption=Interruption(),
            minutes=10, shares=dict(zip((p.id() for p in problems), (0.9, 0.1), strict=True)),
        )  # fmt: skip
        started = [event for event in b.events if isinstance(event, ProblemStarted)]
    # the clock stands still, so the second has all that the first did not need
    assert [event.deadline.moment - 1000.0 for event in started] == pytest.approx([540.0, 600.0])
