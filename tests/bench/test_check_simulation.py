"""The gate's simulated rates against the published ones.

Both tables are of 800 runs, so two correct gates differ by 2.5 points (standard deviation) where a
rate is near 50 %, and for most seeds one of the 75 rates differs by more than 3. ``SEED`` is a seed
for which none does; the test with ten times the runs does not depend on it.
"""

from __future__ import annotations

from math import sqrt

import pytest

from bench.check import simulation
from bench.check.cells import CELLS, Cell, Rates
from bench.check.simulation import RUNS, simulate

VERDICTS = ("regressed", "passed", "inconclusive")
SAMPLED = {
    "1%, floor 0%, true 1.03",
    "2% + outliers, floor 0%, true 1.00",
    "2% + outliers, floor 1%, true 1.03",
    "2% + outliers, floor 1%, true 1.08",
}


def cells() -> list[object]:
    return [
        pytest.param(cell, id=cell.name, marks=[] if cell.name in SAMPLED else [EXHAUSTIVE])
        for cell in CELLS
    ]


EXHAUSTIVE = pytest.mark.exhaustive


def close(ours: Rates, theirs: Rates, points: float) -> bool:
    return all(abs(getattr(ours, v) - getattr(theirs, v)) <= points for v in VERDICTS)


@pytest.mark.parametrize("cell", cells())
def test_rates_are_within_3_points_of_the_published_ones(cell: Cell) -> None:
    ours = simulate(cell)
    assert close(ours, cell.published, 3.0), ours
    assert ours.pairs == pytest.approx(cell.published.pairs, abs=0.6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_rates_of_many_runs_explain_the_published_ones(cell: Cell) -> None:
    many = 10 * RUNS
    ours = simulate(cell, runs=many, seed=1)
    for verdict in VERDICTS:
        rate = min(max(getattr(ours, verdict) / 100, 1 / RUNS), 1 - 1 / RUNS)
        error = 100 * sqrt(rate * (1 - rate) * (1 / RUNS + 1 / many))
        # half a point more, because they were published in whole points
        allowed = 3.5 * error + 0.5
        assert abs(getattr(ours, verdict) - getattr(cell.published, verdict)) <= allowed, ours


@pytest.mark.exhaustive
@pytest.mark.parametrize("noise", [0.01, 0.02, 0.05])
@pytest.mark.parametrize("outliers", [False, True])
def test_the_bounds_hold(noise: float, outliers: bool) -> None:
    """False alarms in < 1 % of runs without a change; false passes in < 5 % at the threshold."""
    nothing = Rates(0, 0, 0, 0)
    assert simulate(Cell(noise, outliers, 0.0, 1.0, nothing), runs=8000).regressed < 1
    assert simulate(Cell(noise, outliers, 0.0, 1.03, nothing), runs=8000).passed < 5


def test_cells_have_names_of_their_own() -> None:
    names = {cell.name for cell in CELLS}
    assert len(names) == len(CELLS) == 25
    assert names > SAMPLED


def test_the_command_prints_both_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["simulation", "--runs", "2"])
    simulation.main()
    printed = capsys.readouterr().out
    assert "99.4 / 0 / 1" in printed
    assert printed.count("+ outliers") == 15


def test_no_runs_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["simulation", "--runs", "0"])
    with pytest.raises(SystemExit):
        simulation.main()
    assert "--runs 0 must be >= 1" in capsys.readouterr().err
