"""The fit of the cost model to other libraries' kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cost_fit.__main__ import OUT
from bench.cost_fit.fit import GRID, Constants, Row, error, fitted, rows_of
from bench.cost_fit.peer_kernels import Peers, read, write
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.cost.certainty import ERRORS

H200 = target_named("h200")


@pytest.fixture(scope="module")
def peers() -> Peers:
    return read()


@pytest.fixture(scope="module")
def rows(peers: Peers) -> list[Row]:
    return rows_of(peers, H200)


def test_the_table_says_what_the_constants_in_use_give(rows: list[Row]) -> None:
    table = OUT.read_text()
    used = Constants()
    assert ", ".join(f"{name} {used.get(name):g}" for name in GRID) in table
    for held, name in ((False, "in the fit"), (True, "held out")):
        for family in ("FLA forward", "FLA backward", "FlashInfer forward", "FlashQLA chains"):
            own = [row for row in rows if (row.family, row.held) == (family, held)]
            e = error(own, used)
            line = (
                f"| {family}, {name} | {e.rows} | {e.ratio:.2f} | {e.spread:.2f} | {e.error:.2f} |"
            )
            assert line in table


def test_the_certainty_is_that_of_kinds_left_out_of_the_fit() -> None:
    lines = [line for line in OUT.read_text().splitlines() if "fitted without them" in line]
    for language, families in (("triton", "FLA"), ("gluon", "FlashQLA")):
        worst = max(float(line.split("|")[-2]) for line in lines if f"| {families} " in line)
        assert worst == ERRORS[language]


def test_what_was_recorded_is_read_as_it_was_written(peers: Peers, tmp_path: Path) -> None:
    kept = Peers(versions=peers.versions, kernels=peers.kernels[1:2], chains=peers.chains[:1])
    write(kept, tmp_path / "again.json.gz")
    again = read(tmp_path / "again.json.gz")
    for ours, theirs in ((kept.chains, again.chains), (kept.kernels, again.kernels)):
        assert [x.name for x in ours] == [x.name for x in theirs]
    before, after = (x.chains[0].bodies for x in (kept, again))
    assert [(b.outer, b.mix, b.steps) for b in before] == [(b.outer, b.mix, b.steps) for b in after]


def test_the_fit_finds_the_constant_that_made_the_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bench.cost_fit.fit.GRID", {"issue": (0.4, 0.5, 0.7), "overlap": (2.0, 3.0)}
    )
    true = Constants().with_("issue", 0.5).with_("overlap", 2.0)

    def row(share: float) -> Row:
        def seconds(constants: Constants) -> float:
            own = constants.reached
            return (1.0 + (share / own.issue) ** own.overlap) ** (1.0 / own.overlap)

        return Row("made up", "", seconds(true), False, seconds)

    assert fitted([row(0.1), row(0.5), row(2.0)]) == true
