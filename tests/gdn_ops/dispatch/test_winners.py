"""Reading and ranking the winners that the tuner stored."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import measured_target, target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch import staleness
from gdn_ops.dispatch import winners as module
from gdn_ops.dispatch.distance import can_share, distance
from gdn_ops.dispatch.results_file import LATER, read_only
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winners import COLUMNS, load_winners, read_winners
from gdn_ops.errors import ResultsError
from gdn_ops.results_path import databases
from gdn_ops.tuner.store.db import open_database
from tests.first_schema import first_schema
from tests.problems import DECODE, FORWARD
from tests.results import ENVIRONMENT, SOURCES, VARIANT, Bench

H200 = target_named("h200")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def write(path: Path, *problems: Problem, **options: Any) -> Path:
    """A database with one winner for each problem."""
    bench = Bench(path)
    for problem in problems:
        bench.win(problem, **options)
    return bench.close()


def test_a_call_reads_no_predictions_for_other_devices(path: Path) -> None:
    bench = Bench(path)
    for target, arch in (("h100", "sm_90"), ("h200", "sm_90"), ("a100", "sm_80")):
        bench.win(target=target, arch=arch, predicted=True)
        bench.win(DECODE, target=target, arch=arch)
    path = bench.close()

    def read(target: Target) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {"measured": set(), "predicted": set()}
        for winner in load_winners([path], target=target).winners:
            found[winner.provenance].add(winner.target)
        return found

    everything = {"h100", "h200", "a100"}
    assert read(H200) == {"measured": everything, "predicted": {"h200"}}
    renamed = measured_target("NVIDIA H200 NVL", "nvidia", "sm_90", sms=132)
    assert read(renamed)["predicted"] == {"h200"}
    unknown = measured_target("NVIDIA H900", "nvidia", "sm_90", sms=7)
    assert read(unknown)["predicted"] == {"h100", "h200"}, "those of its architecture"
    assert read(target_named("mi300x")) == {"measured": everything, "predicted": set()}
    assert len(load_winners([path]).winners) == 6


def hows(path: Path, problem: Problem, target: str = "h200") -> list[str]:
    found = load_winners([path]).candidates(problem.id(), problem.facts(), target_named(target))
    return [how for _, how in found]


def test_a_layer_reads_what_the_tuner_wrote(path: Path) -> None:
    bench = Bench(path)
    bench.win(median=3e-3)
    bench.win(median=2e-3)
    (winner,) = read_winners(path).winners  # the tuner still has the file open
    stored = bench.store.winner(FORWARD.bucket().id(), "h200")
    assert stored is not None
    for name in ("problem_id", "target", "arch", "variant_id", "variant", "median", "low", "high",
                 "reference", "provenance", "trial_id", "speedup"):  # fmt: skip
        assert getattr(winner, name) == getattr(stored, name), name
    for name in ("device", "torch", "triton"):
        assert getattr(winner, name) == getattr(ENVIRONMENT, name), name
    assert winner.variant == VARIANT.to_json()
    assert winner.sources == SOURCES
    assert Problem.from_facts(winner.facts) == FORWARD.bucket()
    assert (winner.created, winner.database) == (stored.created.isoformat(), path)
    bench.close()
    assert read_winners(path).winners == (winner,)


def test_the_view_gives_the_speedup(path: Path) -> None:
    write(path, FORWARD)
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT speedup, reference / median FROM winners"
        assert connection.execute(query).fetchall() == [(3.0, 3.0)]


def test_reading_needs_only_the_standard_library(path: Path) -> None:
    write(path, FORWARD)
    script = (
        "import sys; from pathlib import Path; from gdn_ops.dispatch.winners import read_winners\n"
        f"assert len(read_winners(Path({str(path)!r})).winners) == 1\n"
        "heavy = {'torch', 'jinja2', 'sqlalchemy', 'alembic', 'optuna'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script]
    found = subprocess.run(
        command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n"


def test_no_database_and_an_empty_file_have_no_winners(path: Path) -> None:
    assert read_winners(path).winners == ()
    path.touch()
    assert read_winners(path).winners == ()


def test_an_unreadable_database_does_not_affect_the_other(tmp_path: Path) -> None:
    broken, good = tmp_path / "broken.db", write(tmp_path / "good.db", FORWARD)
    broken.write_text("nothing of the kind" * 100)
    table = load_winners([broken, good])
    assert len(table.winners) == 1
    (fault,) = table.faults
    assert str(broken) in str(fault)


def test_the_users_database_is_read_before_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = write(tmp_path / "user.db", FORWARD, median=3e-3)
    shipped = write(tmp_path / "shipped.db", FORWARD, median=1e-3)
    monkeypatch.setattr(module, "database_paths", lambda: (user, shipped))
    bucket = FORWARD.bucket()
    found = load_winners().candidates(bucket.id(), bucket.facts(), H200)
    assert [(w.database, how) for w, how in found] == [(user, "exact"), (shipped, "exact")]


def test_the_order_is_exact_nearest_same_arch_kindred_predicted(path: Path) -> None:
    near = replace(FORWARD, tokens=512)
    bench = Bench(path)
    bench.win(FORWARD, target="h100", predicted=True)
    bench.win(replace(FORWARD, tokens=64), predicted=True)
    bench.win(FORWARD, target="a100", arch="sm_80")
    bench.win(replace(FORWARD, tokens=32), target="a kin", arch="sm_90a", predicted=True)
    bench.win(FORWARD, target="a kin", arch="sm_90a")
    bench.win(FORWARD, target="h100")
    bench.win(near, target="h100")
    bench.win(near)
    bench.win(FORWARD)
    bench.win(DECODE)
    bench.close()
    facts = FORWARD.bucket().facts()
    found = load_winners([path]).candidates(FORWARD.bucket().id(), facts, H200)
    assert [(how, w.target, w.facts["tokens"]) for w, how in found] == [
        ("exact", "h200", 128),
        ("nearest", "h200", 512),
        ("same arch", "h100", 128),
        ("same arch", "h100", 512),
        ("kindred arch", "a kin", 128),
        ("predicted", "h200", 64),
    ]


def test_a_winner_is_found_under_every_name_of_its_device(path: Path) -> None:
    memory = 85_520_809_984
    unknown = measured_target(
        "NVIDIA H100 96GB", "nvidia", "sm_90", sms=132, memory=102_625_181_696
    )
    write(path, FORWARD, target="nvidia-h100-80gb-hbm3")
    assert hows(path, FORWARD, target="h100") == ["exact"]
    assert hows(path, FORWARD, target="h100-pcie") == ["same arch"]
    table = load_winners([path])
    renamed = measured_target("H800", "nvidia", "sm_90", sms=132, memory=memory)
    ((_, how),) = table.candidates(FORWARD.id(), FORWARD.facts(), renamed)
    assert how == "exact", "an alias"
    ((_, how),) = table.candidates(FORWARD.id(), FORWARD.facts(), unknown)
    assert how == "same arch", "other memory"
    write(path, FORWARD, target="h100")
    found = load_winners([path]).candidates(FORWARD.id(), FORWARD.facts(), target_named("h100"))
    assert [w.target for w, _ in found] == ["h100", "nvidia-h100-80gb-hbm3"]


def test_ptxas_is_part_of_the_environment_and_makes_a_winner_stale(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = FORWARD.bucket()
    variant = Variant.default("torch", bucket)
    bench = Bench(path, replace(ENVIRONMENT, ptxas="12.9.86"))
    bench.win(FORWARD, variant=variant, sources=source_hashes(bucket, variant))
    bench.close()
    monkeypatch.setattr(staleness, "ptxas_version", lambda arch: "12.9.86")
    (winner,) = read_winners(path).winners
    assert (winner.driver, winner.ptxas, winner.stale) == ("590.1", "12.9.86", "")
    monkeypatch.setattr(staleness, "ptxas_version", lambda arch: "13.1.80")
    assert "ptxas 12.9.86, and 13.1.80 is installed" in read_winners(path).winners[0].stale
    monkeypatch.setattr(staleness, "ptxas_version", lambda arch: None)
    assert not read_winners(path).winners[0].stale, "unknown here"


@pytest.mark.parametrize(
    ("change", "apart"),
    [
        ({}, 0.0),
        ({"tokens": 1024}, 3.0),
        ({"tokens": 32}, 2.0),
        ({"HV": 8, "sequences": 4}, 2.0),
        ({"varlen": True}, 0.25),
        ({"initial_state": True, "final_state": False, "tokens": 256}, 1.5),
        ({"gate_in_kernel": True, "dt_bias": True}, 0.5),
        ({"op": "backward"}, None),
        ({"dtype": "bf16"}, None),
        ({"K": 128}, None),
        ({"rule": Rule("none", True)}, None),
    ],
)
def test_the_distance_counts_doublings_and_flags(
    change: dict[str, Any], apart: float | None
) -> None:
    other = replace(FORWARD, **change)
    for one, two in ((FORWARD.facts(), other.facts()), (other.facts(), FORWARD.facts())):
        assert can_share(one, two) == (apart is not None)
        if apart is not None:
            assert distance(one, two) == apart


def test_the_nearest_bucket_comes_first(path: Path) -> None:
    write(path, replace(FORWARD, tokens=4096), replace(FORWARD, varlen=True, tokens=256))
    write(path, replace(FORWARD, tokens=512), FORWARD.backward(final_state=True))
    table = load_winners([path])
    found = table.candidates(FORWARD.id(), FORWARD.facts(), H200)
    assert [winner.facts["tokens"] for winner, _ in found] == [256, 512, 4096]
    assert hows(path, FORWARD, target="a100") == []


def test_a_winner_with_another_source_is_stale_but_usable(
    path: Path,
) -> None:
    bucket = FORWARD.bucket()
    variant = Variant.default("torch", bucket)
    write(path, FORWARD, variant=variant, sources=source_hashes(bucket, variant))
    assert [bool(w.stale) for w in read_winners(path).winners] == [False]
    write(path, FORWARD, variant=variant, sources={"torch_chunk": "of another template"})
    assert [bool(w.stale) for w in read_winners(path).winners] == [True]
    assert hows(path, FORWARD) == ["exact"]


@pytest.mark.parametrize("sources", [None, SOURCES])
def test_a_winner_with_an_unknown_or_unrenderable_source_is_stale(
    path: Path, sources: dict[str, str] | None
) -> None:
    write(path, FORWARD, sources=sources)  # of a variant whose axes are no more
    assert [bool(w.stale) for w in read_winners(path).winners] == [True]


def test_reading_and_choosing_render_nothing(path: Path) -> None:
    write(path, FORWARD, variant=Variant.default("torch", FORWARD.bucket()))
    script = (
        "import sys; from pathlib import Path; from gdn_ops.codegen.targets import target_named\n"
        "from gdn_ops.dispatch.winners import load_winners; from tests.problems import FORWARD\n"
        f"table = load_winners([Path({str(path)!r})])\n"
        "facts = FORWARD.bucket().facts()\n"
        "(winner, _), = table.candidates(FORWARD.bucket().id(), facts, target_named('h200'))\n"
        "before = 'jinja2' in sys.modules; assert winner.stale\n"
        "print(before, 'jinja2' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == "False True\n"


def test_a_database_of_the_first_schema_is_read_and_its_winners_count_as_stale(path: Path) -> None:
    first_schema(path)
    (winner,) = read_winners(path).winners
    assert (winner.variant_id, winner.device, winner.sources) == ("torch-1", "Old GPU", None)
    assert winner.stale
    assert hows(path, FORWARD) == ["exact"]
    before = path.read_bytes()
    assert read_winners(path).skipped == ()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("variant", "{", "variant is not JSON"),
        ("variant", "[1]", "variant is .*, not a JSON object"),
        ("variant", b"\x80\x04K\x01.", "variant is .*, not a string"),
        ("variant", "[" * 100_000, "recursion"),
        ("median", "fast", "median is 'fast', not a number"),
        ("high", 9e999, "high is inf"),
        ("arch", 90, "arch is 90, not a string"),
        ("provenance", "guessed", "provenance is 'guessed'"),
        ("trial_id", "one", "trial_id is 'one'"),
        ("facts", '{"tokens": 128, "sequences": 2, "H": 2, "HV": 0}', "fact HV is 0"),
        ("facts", '{"tokens": "128"}', "fact tokens is '128'"),
    ],
)
def test_a_malformed_row_is_skipped_with_its_reason(
    path: Path, column: str, value: object, reason: str
) -> None:
    write(path, FORWARD, DECODE)
    spoil(path, column, value)
    table = read_winners(path)
    assert [winner.facts["op"] for winner in table.winners] == ["forward"]
    (skipped,) = table.skipped
    assert skipped.problem_id == DECODE.bucket().id()
    with pytest.raises(ValueError, match=reason):
        raise ValueError(skipped.reason)


def spoil(path: Path, column: str, value: object) -> None:
    """Write an arbitrary value into the decode winner's row of the view."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(winners)")]
        connection.execute("CREATE TABLE spoilt AS SELECT * FROM winners")
        connection.execute("DROP VIEW winners")
        connection.execute(f"CREATE TABLE winners ({', '.join(names)})")
        connection.execute("INSERT INTO winners SELECT * FROM spoilt")
        where = "WHERE problem_id = ?"
        row = (value, DECODE.bucket().id())
        assert connection.execute(f"UPDATE winners SET {column} = ? {where}", row).rowcount == 1


def test_a_view_without_its_columns_is_an_error(path: Path) -> None:
    write(path, FORWARD)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP VIEW winners")
    with pytest.raises(ResultsError) as caught:
        read_winners(path)
    assert str(caught.value) == (
        f"{path} lacks a table of a results database (SQLite: no such table: winners); restore the "
        "file from a copy or name another file."
    )


def test_a_database_in_wal_mode_is_read_without_its_shm_file(path: Path) -> None:
    write(path, FORWARD)
    assert path.read_bytes()[18:20] == b"\x02\x02"  # WAL mode
    Path(f"{path}-shm").symlink_to("nowhere")  # which SQLite refuses to follow
    assert hows(path, FORWARD) == ["exact"]


def test_rows_that_are_only_in_the_wal_are_read_from_read_only_media(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "live.db")
    bench.win()
    killed = tmp_path / "killed.db"
    for suffix in ("", "-wal"):
        Path(f"{killed}{suffix}").write_bytes(Path(f"{bench.path}{suffix}").read_bytes())
    Path(f"{killed}-shm").symlink_to("nowhere")
    with closing(sqlite3.connect(f"{killed.as_uri()}?immutable=1", uri=True)) as connection:
        assert connection.execute("SELECT count(*) FROM winner_rows").fetchone() == (0,)
    log = Path(f"{killed}-wal").read_bytes()
    assert hows(killed, FORWARD) == ["exact"]
    Path(f"{killed}-shm").unlink()
    assert hows(killed, FORWARD) == ["exact"]
    assert log and Path(f"{killed}-wal").read_bytes() == log, "what a writer left is left"


def test_a_reader_cannot_write(path: Path) -> None:
    write(path, FORWARD)
    with pytest.raises(ResultsError, match="not writable"), read_only(path) as connection:
        connection.execute("DELETE FROM winner_rows")
    assert len(read_winners(path).winners) == 1
    database = open_database(path, create=False, writable=False)
    with database, pytest.raises(ResultsError, match="not writable"), database.read() as session:
        session.execute(text("DELETE FROM winner_rows"))
    assert list(path.parent.iterdir()) == [path], "no -shm and -wal file of WAL mode is left"


def endless(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP VIEW winners; CREATE VIEW winners AS "
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT n.x AS "
            f"trial_id, {', '.join(f'0 AS {c}' for c in (*COLUMNS, *LATER) if c != 'trial_id')} "
            "FROM n WHERE x < 0"
        )


def huge(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE problems SET facts = printf('%.*c', 2000000, 'x')")


def negative(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = -5")


def older(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 1")


def many(path: Path) -> None:
    """Rows without an end, each of which comes at once."""
    with closing(sqlite3.connect(path)) as connection:
        columns = ", ".join(f"w.{name}" for name in (*COLUMNS, *LATER))
        (view,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'winners'")
        select = view[0].partition(" AS\n")[2]
        connection.executescript(
            "DROP VIEW winners; CREATE VIEW winners AS WITH RECURSIVE n(x) AS "
            f"(SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT {columns} "
            f"FROM n CROSS JOIN ({select}) AS w"
        )


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (endless, "takes longer than the time"),
        (huge, "a value of more than 1048576 bytes"),
        (negative, "schema version -5, which no version of gdn-ops writes"),
        (older, "view of winners has the column sources, which came with version 2"),
        (many, "has more than 100 winners"),
        (loop, "symbolic links"),
        (pipe, "is a device or a pipe"),
    ],
)
def test_a_call_does_not_wait_for_a_hostile_file(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], None],
    says: str,
) -> None:
    monkeypatch.setattr("gdn_ops.dispatch.results_file.CALL_SECONDS", 0.1)
    monkeypatch.setattr(module, "MOST_WINNERS", 100)
    monkeypatch.setenv("GDN_RESULTS_DB", str(path))
    write(path, FORWARD)
    spoil(path)
    assert databases()[0] == path
    (fault,) = load_winners([path]).faults
    assert says in str(fault)


def test_a_call_does_not_read_what_another_process_is_writing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdn_ops.dispatch.results_file.CALL_SECONDS", 0.1)
    write(path, FORWARD)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = DELETE")
        writer.execute("BEGIN EXCLUSIVE")
        (fault,) = load_winners([path]).faults
    assert "another process has locked" in str(fault)


def test_a_winner_without_a_reference_has_no_speedup(path: Path) -> None:
    write(path, FORWARD, predicted=True)
    (winner,) = read_winners(path).winners
    assert isinstance(winner, Winner)
    assert (winner.speedup, winner.device, winner.provenance) == (None, None, "predicted")
