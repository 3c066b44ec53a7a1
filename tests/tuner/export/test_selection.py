"""What is exported: winners that can run, with their proof; others are left out and named."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.errors import GdnError, InvalidInput, ResultsError, UnknownName
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.variant import Provided, Variant
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.export.library import names_of
from gdn_ops.tuner.export.rendering import with_other_flags
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.export.winners_database import winners_database
from gdn_ops.tuner.spaces.workloads import decode, pool, prefill
from gdn_ops.tuner.store.records import Outcome
from tests.results import HANG, OK, Bench, stage_key

PREFILL, LONG, DECODE = prefill(tokens=4096), prefill(tokens=8192), decode(sequences=32)


def _win(bench: Bench, problem: Problem, **options: object) -> None:
    plan = "recurrent" if problem.op == "decode" else "split"
    problem = problem.bucket()
    given = {"variant": Variant.default(plan, problem), **options}
    bench.win(problem, **given)


def _one(path: Path) -> Description:
    (description,) = described([path])
    return description


def _change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_winners_come_with_trial_environment_and_sources(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL)
    (winner,) = _one(bench.close()).winners
    assert winner.trial is not None and winner.environment is not None
    facts = winner.facts()
    assert facts["samples"] == list(OK.samples) and facts["errors"] == {"o": 1e-6, "ht": "nan"}
    assert facts["environment"]["driver"] == "590.1" and facts["method"] == "cpu-eager"
    assert facts["sources"] == source_hashes(winner.problem, winner.variant)
    assert facts["stale"] is True, "the test's trial has other sources"


def test_a_prediction_is_marked_as_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL, predicted=True)
    (winner,) = _one(bench.close()).winners
    facts = winner.facts()
    assert facts["samples"] == facts["provenance"] == "predicted" and not facts["stale"]
    assert facts["trial"] is None and facts["environment"] is None


def test_a_library_is_no_part_of_an_export(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL)
    _win(bench, LONG, variant=Provided.by("fla", "0.6.0"))
    description = _one(path := bench.close())
    assert [w.problem for w in description.winners] == [PREFILL.bucket()]
    (why,) = description.left_out
    assert f"the winner of {LONG.bucket().id()} on h200 is left out: it is the provider fla" in why
    with pytest.raises(ResultsError, match=r"it is the provider fla 0\.6\.0"):
        described([path], problems=[LONG.bucket()])


def test_our_own_best_takes_the_place_of_a_library(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL)
    ours = Variant.of("split", LONG.bucket(), {"BT": 32})
    for median, variant in ((4e-3, Variant.default("split", LONG.bucket())), (3e-3, ours)):
        _win(bench, LONG, variant=variant, median=median)
    _win(bench, LONG, variant=Provided.by("fla", "0.6.0"), median=2e-3)
    description = _one(bench.close())
    assert not description.left_out
    exported = {w.problem: (w.variant, w.winner.median) for w in description.winners}
    assert exported[LONG.bucket()] == (ours, 3e-3)
    assert {w.facts()["instead_of"] for w in description.winners} == {None, "fla 0.6.0"}
    (sentence,) = description.instead
    assert sentence.startswith(f"fla 0.6.0 won {LONG.bucket().id()} on h200")
    assert str(ours) in sentence
    path = tmp_path / "exported.db"
    path.write_bytes(winners_database(description))
    table = read_winners(path)
    assert not table.own and {w.variant_id for w in table.winners} == {
        w.variant.id for w in description.winners
    }


def test_the_first_databases_winner_is_taken(tmp_path: Path) -> None:
    paths = []
    for name, median in (("a.db", 3e-3), ("b.db", 1e-3)):
        bench = Bench(tmp_path / name)
        _win(bench, PREFILL, median=median)
        paths.append(bench.close())
    (description,) = described(paths)
    assert [w.winner.median for w in description.winners] == [3e-3]


def test_predictions_that_ship_are_exported_only_for_a_named_target_without_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, own = Bench(tmp_path / "shipped.db"), Bench(tmp_path / "own.db")
    monkeypatch.setattr("gdn_ops.dispatch.winner.shipped_database", lambda: shipped.path)
    for target in ("h100", "h200"):
        _win(shipped, PREFILL, target=target, predicted=True)
    _win(own, DECODE, target="h200")
    paths = [own.close(), shipped.close()]

    def exported(*targets: str) -> list[tuple[str, str, str]]:
        return [
            (description.target.name, w.problem.op, w.winner.provenance)
            for description in described(paths, targets=targets) for w in description.winners
        ]  # fmt: skip

    measured, predicted = ("h200", "decode", "measured"), ("h100", "forward", "predicted")
    assert exported() == exported("h200") == [measured]
    assert exported("h100", "h200") == [predicted, measured]


def test_only_problems_of_the_workload_are_exported(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL)
    _win(bench, DECODE)
    path = bench.close()
    assert len(_one(path).winners) == 2
    (description,) = described([path], problems=[DECODE.bucket()])
    assert [w.problem for w in description.winners] == [DECODE.bucket()]
    bench = Bench(path)
    _win(bench, LONG, target="a100", arch="sm_80")
    bench.close()
    (description,) = described([path], problems=[LONG.bucket()])
    assert description.target.name == "a100", "other targets have no winner of the problem"
    with pytest.raises(InvalidInput, match="there are no winners of these problems; run"):
        described([path], problems=[prefill(tokens=1024).bucket()])
    others = "h200 has 2 winners of other problems (decode 1, forward 1); `gdn show --target h200` "
    with pytest.raises(InvalidInput) as caught:
        described([path], targets=["h200"], problems=[LONG.bucket()], asked="long.json")
    assert str(caught.value) == (
        f"there are no winners of the problems of long.json for target h200. {others}lists them. "
        "Run `gdn tune long.json` on h200, or `gdn predict long.json --target h200 --store` on any "
        "machine."
    )
    with pytest.raises(InvalidInput) as caught:
        described([path], problems=[prefill(tokens=1024).bucket()], asked="short")
    assert str(caught.value).startswith(
        "there are no winners of the problems of short; run `gdn tune short` on the device, or "
        "`gdn predict short --store` for a GPU. a100 has 1 winner of other problems (forward 1); "
    )
    assert others in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE winner_rows SET variant = json_set(variant, '$.interface.BT', '64)')", "BT='64)'"),
        ("UPDATE winner_rows SET variant = json_set(variant, '$.interface.BT', 48)", "BT=48"),
        ("UPDATE winner_rows SET variant = json_set(variant, '$.plan', '../x')", "unknown plan"),
        ("UPDATE winner_rows SET variant = '[]'", "not a JSON object"),
        ("UPDATE problems SET facts = json_set(facts, '$.K', 4096)", "head dim K=4096"),
        ("UPDATE problems SET facts = json_set(facts, '$.H', 'x')", "'x'"),
        ("UPDATE problems SET facts = json_remove(facts, '$.gate')", "'gate'"),
        ("UPDATE problems SET facts = json_set(facts, '$.os', 'rm')", "os"),
        ("UPDATE winner_rows SET median = 1e999", "median is inf"),
        ("UPDATE winner_rows SET created = 'x'", "created"),
    ],
)
def test_a_winner_with_hostile_values_is_left_out_and_named(
    tmp_path: Path, statement: str, says: str
) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL)
    path = bench.close()
    which = PREFILL.bucket().id()
    key = "id" if "problems" in statement else "problem_id"
    _change(path, f"{statement} WHERE {key} = '{which}'")
    with pytest.raises(GdnError, match="for target h200") as caught:
        described([path], targets=["h200"])
    assert which in str(caught.value) and says in str(caught.value)
    bench = Bench(path)
    _win(bench, DECODE)
    description = _one(bench.close())
    assert [w.problem for w in description.winners] == [DECODE.bucket()]
    assert any(which in sentence and says in sentence for sentence in description.left_out)


def test_a_winner_whose_target_cannot_run_it_is_left_out(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, DECODE)
    _win(bench, PREFILL, variant=Variant.of("split", PREFILL, {"store": "fp32"}))
    description = _one(bench.close())
    assert len(description.winners) == 1
    (sentence,) = description.left_out
    assert PREFILL.bucket().id() in sentence and "store=fp32" in sentence


def test_a_winner_that_no_longer_renders_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gdn_ops.codegen.errors import TemplateError

    def fails(problem: Problem, variant: Variant) -> dict[str, str]:
        if problem.op == "forward":
            raise TemplateError("triton/chunk_o.py.jinja, line 3 did not render")
        return source_hashes(problem, variant)

    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL)
    _win(bench, DECODE)
    monkeypatch.setattr("gdn_ops.tuner.export.selection.source_hashes", fails)
    description = _one(bench.close())
    assert [w.problem.op for w in description.winners] == ["decode"]
    assert "chunk_o.py.jinja, line 3 did not render" in description.left_out[0]


def test_configs_that_failed_are_denied_until_they_succeed(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL)
    fault = Outcome(status="fault", message="disk full")
    _win(bench, LONG, predicted=True)
    bench.record(stage_key(LONG, BV=32), HANG)
    bench.record(stage_key(PREFILL, BV=32), HANG)
    bench.record(stage_key(PREFILL, BV=64), HANG)
    bench.record(stage_key(PREFILL, BV=64), OK)
    bench.record(stage_key(PREFILL, BV=128), fault)
    bench.record(stage_key(PREFILL, target="a100", BV=16), HANG)
    predicted, denied = _one(bench.close()).denied
    assert predicted.facts()["problem"] == LONG.bucket().id()
    facts = denied.facts()
    assert (facts["config"], facts["status"]) == ({"BV": 32}, "timeout")
    assert facts["message"] == "killed after 60 s" and facts["triton"] == "3.7.1"


def test_a_target_without_winners_names_the_nearest_one_and_the_remedy(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL)
    _win(bench, PREFILL, target="a100", arch="sm_80")
    path = bench.close()
    with pytest.raises(InvalidInput) as caught:
        described([path], targets=["h100"])
    assert str(caught.value) == (
        "there are no winners for target h100. The nearest target with winners is h200. Run "
        "`gdn tune` on h100, or `gdn predict --target h100 --store` on any machine."
    )
    with pytest.raises(InvalidInput, match="nearest target with winners is a100"):
        described([path], targets=["a100-40gb"])
    with pytest.raises(UnknownName, match="unknown target 'h20O'"):
        described([path], targets=["h20O"])


def test_a_database_without_winners(tmp_path: Path) -> None:
    path = Bench(tmp_path / "r.db").close()
    with pytest.raises(InvalidInput, match="no winners to export; run `gdn tune`"):
        described([path])
    (tmp_path / "text.db").write_text("no database")
    with pytest.raises(ResultsError, match="not an SQLite database"):
        described([tmp_path / "text.db"])


@pytest.mark.parametrize("target", ["../../etc", "gpu\x1b[2J", "Ünï"])
def test_a_targets_name_becomes_a_plain_package(tmp_path: Path, target: str) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL, target=target)
    names = names_of(_one(bench.close()))
    assert names.package.isascii() and names.package.isidentifier()
    assert names.package.startswith("gdn_ops_lib_")


@pytest.mark.parametrize("target", ["???", "x" * 99])
def test_a_name_that_makes_no_package_is_refused(tmp_path: Path, target: str) -> None:
    bench = Bench(tmp_path / "r.db")
    _win(bench, PREFILL, target=target)
    with pytest.raises(InvalidInput, match="cannot be part of a package's name"):
        names_of(_one(bench.close()))


def test_other_flags_are_those_that_change_from_call_to_call() -> None:
    found = list(with_other_flags(PREFILL))
    assert len(set(found)) == 24 and PREFILL in found
    assert replace(PREFILL, varlen=True, initial_state=True) in found
    assert replace(PREFILL, gate_in_kernel=True, dt_bias=True) in found
    assert len(list(with_other_flags(replace(PREFILL, rule=Rule("none"))))) == 8
    engine = pool(sequences=8)
    assert list(with_other_flags(engine)) == [
        replace(engine, varlen=False),
        replace(engine, varlen=True),
    ]
