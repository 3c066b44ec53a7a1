"""Installed libraries beside our variants: reported, allowed to win, and never in their way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.codegen.variant import Provided
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.campaign import Result, run_campaign
from gdn_ops.tuner.cli.tuning_result import print_results
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.report.progress import Note
from gdn_ops.tuner.search.asked_providers import Asked, asked_for
from gdn_ops.tuner.search.providers import outcome_text
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.store.new_trial import NewTrial
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.workers.harness import Verdict
from tests.tuner.search.recorded import (
    PROBLEM,
    Bench,
    RecordedHarness,
    bench,
    stage_seconds,
    toy_plans,
)

VERSION = "5.23.0"
LIBRARY = f"transformers {VERSION}"
REPORTED = Asked({"transformers": VERSION})
ALLOWED = replace(REPORTED, allowed=True)


def faster(stage: str, config: Config) -> float:
    return 1e-4 if stage == "transformers" else stage_seconds(stage, config)


@pytest.fixture(autouse=True)
def one_plan(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("gdn_ops.dispatch.providers.missing_provider", lambda problem, variant: [])
    monkeypatch.setattr(
        "gdn_ops.tuner.search.standing.missing_provider", lambda problem, variant: []
    )
    with toy_plans("single"):
        yield


def tuned(b: Bench, asked: Asked, *, again: bool = False) -> Result:
    """Tune the toy problem with these libraries."""
    options = Options(trials=4, strategy="enumeration", again=again)
    with Interruption().listen():
        return run_campaign(
            [PROBLEM], replace(b.context, providers=asked), options=options,
            interruption=Interruption(), minutes=None,
        )  # fmt: skip


def test_a_faster_library_is_only_reported_unless_it_is_allowed(tmp_path: Path) -> None:
    with bench(tmp_path / "r.db", RecordedHarness(seconds=faster)) as b:
        result = tuned(b, REPORTED)
        (winner,), (row,) = result.winners.values(), result.compared
        assert winner.variant["plan"] == "single"
        assert (row.status, row.won, row.release) == ("ok", False, LIBRARY)
        assert row.speed == pytest.approx(winner.median / 1e-4)
        trial = b.store.trial(row.trial_id or 0)
        assert trial.key.plan == "transformers" and trial.sources == {"transformers": VERSION}
        assert trial.key.config == {"transformers": {"version": VERSION}}

        measured = len(b.harness.measured)
        (same,) = tuned(b, REPORTED).compared
        assert len(b.harness.measured) == measured and same == row, "it is known already"

        result = tuned(b, ALLOWED)
        (winner,), (row,) = result.winners.values(), result.compared
        assert winner.variant == Provided.by("transformers", VERSION).to_json()
        assert row.won and outcome_text(row) == "won"
        (own,) = read_winners(tmp_path / "r.db").own
        assert own.variant["plan"] == "single" and own.median > winner.median
        # a run that does not name it leaves it, and --again goes back to our own variants
        (kept,) = tuned(b, Asked()).winners.values()
        assert kept.id == winner.id
        (own,) = tuned(b, Asked(), again=True).winners.values()
        assert own.variant["plan"] == "single"


def test_a_library_that_fails_costs_its_own_row_only(tmp_path: Path) -> None:
    harness = RecordedHarness(seconds=faster, failures={LIBRARY: "crash"})
    with bench(tmp_path / "r.db", harness) as b:
        result = tuned(b, ALLOWED)
        (winner,), (row,) = result.winners.values(), result.compared
        assert winner.variant["plan"] == "single" and row.status == "crash"
        assert outcome_text(row) == "crash: recorded failure"
        harness.failures = {}
        assert tuned(b, ALLOWED).compared == [row], "a known crash is not run again"
        (row,) = tuned(b, ALLOWED, again=True).compared
        assert row.won, "--again tries it again, e.g. after a compiler was installed"


def test_a_wrong_library_is_not_timed(tmp_path: Path) -> None:
    wrong = Verdict(status="wrong", message="'one token': error 0.1 of o")
    with bench(tmp_path / "r.db", RecordedHarness(seconds=faster, verdicts={LIBRARY: wrong})) as b:
        (row,) = tuned(b, ALLOWED).compared
        assert (row.status, row.median, row.won) == ("wrong", None, False)
        assert LIBRARY not in [text for text, _ in b.harness.measured]


def test_finals_that_a_library_breaks_are_held_without_it(tmp_path: Path) -> None:
    class Breaking(RecordedHarness):
        def measure(self, problem, variants, *, stage, effort):  # type: ignore[no-untyped-def]
            names = [str(variant) for variant in variants]
            self.failures = {LIBRARY: "timeout"} if len(names) > 1 else {}
            return super().measure(problem, variants, stage=stage, effort=effort)

    with bench(tmp_path / "r.db", Breaking(seconds=faster)) as b:
        result = tuned(b, ALLOWED)
        (winner,), (row,) = result.winners.values(), result.compared
        assert winner.variant["plan"] == "single"
        assert outcome_text(row) == "timeout: finals with it failed: recorded failure"
        notes = [event.text for event in b.events if isinstance(event, Note)]
        assert any("failed (timeout) and are held again without providers" in n for n in notes)
        measured = len(b.harness.measured)
        assert tuned(b, ALLOWED).compared == [row]
        assert len(b.harness.measured) == measured, "they are not held again in the next run"


def test_a_library_that_has_won_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fastest(stage: str, config: Config) -> float:
        return {"transformers": 1e-4, "fla": 5e-5}.get(stage) or stage_seconds(stage, config)

    monkeypatch.setattr(Provided, "reasons", lambda self, problem, target: [])
    with bench(tmp_path / "r.db", RecordedHarness(seconds=fastest)) as b:
        (row,) = tuned(b, ALLOWED).compared
        assert row.won
        (row,) = tuned(b, Asked({"fla": "0.6.0"})).compared
        assert outcome_text(row) == "not timed with the winner", "which may not win in this run"
        both = Asked({"transformers": VERSION, "fla": "0.6.0"}, allowed=True)
        result = tuned(b, both)
        assert [outcome_text(row) for row in result.compared] == ["slower", "won"]
        (winner,) = result.winners.values()
        assert winner.variant["plan"] == "fla"
        # our own is that of before, and an earlier one if a later trial has found it wrong
        (own,) = read_winners(tmp_path / "r.db").own
        assert own.variant["plan"] == "single"
        wrong = NewTrial(
            key=b.store.trial(own.trial_id or 0).key, run_id=b.context.run,
            outcome=Outcome(status="nondeterministic", message="two runs differ"),
            environment_id=b.context.environment, variant_id=own.variant_id,
        )  # fmt: skip
        b.store.record_trials([wrong])
        (earlier,) = read_winners(tmp_path / "r.db").own
        assert earlier.variant["plan"] == "single" and earlier.variant_id != own.variant_id


def test_a_library_that_is_tied_with_a_default_is_not_timed_in_every_run(tmp_path: Path) -> None:
    def level(stage: str, config: Config) -> float:
        return 0.999 * best if stage == "transformers" else stage_seconds(stage, config)

    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        (winner,) = tuned(b, Asked()).winners.values()
        best = winner.median
        b.harness.seconds = level
        (row,) = tuned(b, ALLOWED).compared
        assert outcome_text(row) in ("won", "as fast as the winner")
        measured = len(b.harness.measured)
        tuned(b, ALLOWED)
        assert len(b.harness.measured) == measured


def test_what_cannot_compute_a_problem_has_a_row_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = Asked({"fla": "0.6.0", "transformers": VERSION})
    with bench(tmp_path / "r.db", RecordedHarness()) as b:
        result = tuned(b, asked)
        assert [row.status for row in result.compared] == ["refused", "ok"]
        assert "fla" not in {trial.key.plan for trial in b.store.trials()}
        print_results({"": result}, tmp_path / "r.db")
    out = " ".join(capsys.readouterr().out.split())
    assert "fla 0.6.0" in out and "cannot compute it: flash-linear-attention has kernels for" in out


def test_names_are_checked_before_anything_is_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"transformers": VERSION}
    monkeypatch.setattr(
        "gdn_ops.tuner.search.asked_providers.version_of", lambda provider: found.get(provider.name)
    )
    assert asked_for(["transformers"], allowed=True) == ALLOWED
    with pytest.raises(UnknownName, match=r"unknown provider 'flash'.*Known: fla, flashinfer"):
        asked_for(["flash"], allowed=False)
    with pytest.raises(InvalidInput, match="`pip install flash-qla` installs it"):
        asked_for(["transformers", "flashqla"], allowed=False)
    with pytest.raises(InvalidInput, match="--providers names none"):
        asked_for([], allowed=True)
