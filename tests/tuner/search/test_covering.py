"""``gdn tune --cover``: few variants for the many sizes of a problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.campaign import Result, run_campaign
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.spaces.space import Space, plans_for
from gdn_ops.tuner.workers.harness import Effort, Measured
from tests.tuner.search.recorded import (
    CPU,
    PROBLEM,
    TILE,
    Bench,
    RecordedHarness,
    bench,
    timing,
    toy_plans,
)

SIZES = [replace(PROBLEM, tokens=tokens) for tokens in (64, 128, 256, 512)]
OTHER = replace(PROBLEM, final_state=True)
TILES = {64: 16, 128: 32, 256: 64, 512: 128}
"""The best tile for each number of tokens; the tile beside it is 3 % slower, others are far off."""


class BySize(RecordedHarness):
    """Times that depend on the tokens, and on nothing but the tile."""

    def measure(
        self, problem: Problem, variants: Sequence[Variant], *, stage: Any, effort: Effort
    ) -> Measured:
        measured = super().measure(problem, variants, stage=stage, effort=effort)
        return replace(
            measured,
            timings={v.id: timing(self.of(problem, v)) for v in variants},
            reference=timing(1),
        )

    def of(self, problem: Problem, variant: Variant) -> float:
        tile = int(variant.config("single")["tile"])
        apart = abs(tile.bit_length() - TILES[problem.tokens].bit_length())
        return 1e-3 * (1.0, 1.03, 2.0, 4.0)[apart]


@pytest.fixture
def single() -> Iterator[Space]:
    with toy_plans("single"):
        KERNELS["single"] = replace(KERNELS["single"], axes=(TILE,))
        yield plans_for(PROBLEM, CPU)["single"][0][0]


def campaign(b: Bench, cover: float | None, problems: Sequence[Problem] = SIZES) -> Result:
    return run_campaign(
        problems, b.context, options=Options(trials=100, cover=cover),
        interruption=Interruption(), minutes=None,
    )  # fmt: skip


def tiles(path: Path) -> list[int]:
    winners = sorted(read_winners(path).winners, key=lambda w: int(w.facts["tokens"]))
    return [winner.variant["stages"]["single"]["tile"] for winner in winners]


def test_neighbouring_sizes_share_a_variant_within_the_share(tmp_path: Path, single: Space) -> None:
    path = tmp_path / "r.db"
    with bench(path, BySize()) as b:
        campaign(b, None)
        assert tiles(path) == [16, 32, 64, 128], "without it each size has its own"
        result = campaign(b, 0.95)
    found = tiles(path)
    assert len(set(found)) == 2 < 4
    assert all(each.best / each.seconds >= 0.95 for each in result.covered)
    assert {each.problem_id for each in result.covered} == {p.id() for p in SIZES}
    assert {result.winners[p.id()].id for p in SIZES} == {each.winner.id for each in result.covered}
    with bench(path, BySize()) as b:
        campaign(b, None)
        assert b.harness.measured == [], "they are finished"
    assert tiles(path) == found


def test_a_problem_of_its_own_keeps_its_winner(tmp_path: Path, single: Space) -> None:
    with bench(tmp_path / "r.db", BySize()) as b:
        result = campaign(b, 0.9, [SIZES[0], OTHER])
        assert result.covered == []
        assert len(result.winners) == 2
        notes = [event.text for event in b.events if isinstance(event, Note)]
        assert "cover: no two problems with a winner differ in their sizes alone" in notes[-1]


def test_what_does_not_repeat_is_left_out_of_the_set(tmp_path: Path, single: Space) -> None:
    unsteady = frozenset(
        str(single.variant(config)) for config in single.configs if config["tile"] == 32
    )
    with bench(tmp_path / "r.db", BySize(unsteady=unsteady)) as b:
        campaign(b, 0.95)
    assert 32 not in tiles(tmp_path / "r.db")
