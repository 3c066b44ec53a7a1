"""Results on a PostgreSQL server: the same store, shared by several tuners, through restarts."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text

from gdn_ops.codegen.variant import Provided
from gdn_ops.dispatch import winners as in_calls
from gdn_ops.dispatch.results_file import SCHEMA_VERSION
from gdn_ops.errors import InvalidInput, ResultsError
from gdn_ops.results_path import location_of
from gdn_ops.results_url import ResultsUrl
from gdn_ops.tuner.store import server as servers
from gdn_ops.tuner.store import server_errors
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.excerpt import Excerpt
from gdn_ops.tuner.store.models import TRIAL_STATUSES, Base
from gdn_ops.tuner.store.new_trial import NewTrial
from gdn_ops.tuner.store.server import SCHEMA, ServerDatabase
from gdn_ops.tuner.store.server_errors import ServerGone
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.store.winner_tables import read_winners
from tests.postgres import LOCKED, PASSWORD, Server, running_server
from tests.problems import DECODE
from tests.results import ENVIRONMENT, OK, SOURCES, Bench, stage_key
from tests.tuner.store.test_merge import chunk_32

NAMES = (f"test_{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


@pytest.fixture
def url(server: Server) -> str:
    """A database of its own."""
    return server.database(next(NAMES))


def test_a_server_keeps_what_a_file_keeps(url: str, tmp_path: Path) -> None:
    kept = []
    for bench in (Bench(tmp_path / "results.db"), Bench(url)):
        key = stage_key(BK=32, precision="tf32")
        for status in TRIAL_STATUSES:
            bench.record(key, replace(OK, status=status, message="a NUL \0 in it"))
        together = bench.store.record_trials([
            NewTrial(key=stage_key(BK=size), outcome=replace(OK, message="\0"), sources=SOURCES,
                     run_id=bench.run_id, environment_id=bench.environment_id)
            for size in (16, 64, 128)
        ])  # fmt: skip
        assert repr(together) == repr([bench.store.trial(trial.id) for trial in together])
        assert bench.store.record_trials([]) == []
        bench.win(median=3e-3)
        bench.win(DECODE, predicted=True)
        bench.win(median=2e-3)
        store = bench.store
        trials = [replace(trial, created=ENVIRONMENT) for trial in store.trials()]
        known = bench.known(key)
        assert known is not None
        kept.append((
            repr(trials), known.outcome.status, store.problems(), store.tried(),
            store.environment(bench.environment_id),
            [(w.variant, w.median, w.superseded is None) for w in store.winners(history=True)],
            [(run.seed, run.options, run.status) for run in store.runs()],
        ))  # fmt: skip
        bench.close()
    assert kept[0] == kept[1]
    stored = [
        replace(w, database=Path(), created="") for w in read_winners(location_of(url, "")).winners
    ]
    local = in_calls.read_winners(tmp_path / "results.db").winners
    assert stored == [replace(w, database=Path(), created="") for w in local]


def test_the_migrations_make_the_schema_of_the_models(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with ThreadPoolExecutor(4) as pool:  # several that start together make the tables once
        for database in pool.map(lambda _: open_database(url, create=True), range(4)):
            database.close()
    with open_database(url, create=False) as database, database.engine.connect() as connection:
        context = MigrationContext.configure(connection)
        found = [d for d in compare_metadata(context, Base.metadata) if d[0] != "remove_table"]
        assert found == []
        version = connection.scalar(text("SELECT version_num FROM alembic_version"))
        assert int(str(version)) == SCHEMA_VERSION
        connection.execute(text("UPDATE alembic_version SET version_num = '0099'"))
        connection.commit()
    for writable in (True, False):
        with pytest.raises(ResultsError, match="schema version 99; this version of gdn-ops reads"):
            open_database(url, create=True, writable=writable)


def test_our_own_best_is_read_where_a_provider_has_won(url: str, tmp_path: Path) -> None:
    for place in (tmp_path / "results.db", url):
        bench = Bench(place)
        bench.win(median=3e-3)
        bench.win(median=2e-3, variant=chunk_32())
        bench.win(median=1e-3, variant=Provided.by("fla", "0.6.0"))
        bench.close()
    server = location_of(url, "url")
    assert isinstance(server, ResultsUrl)
    Excerpt(server).write(tmp_path / "pulled.db")
    for location in (tmp_path / "results.db", server, tmp_path / "pulled.db"):
        table = read_winners(location)
        assert [w.median for w in table.winners] == [1e-3]
        assert [w.median for w in table.own] == [2e-3]


def test_what_is_not_there_is_named(server: Server, url: str) -> None:
    for writable in (True, False):
        with pytest.raises(ResultsError, match=r"there are no results in .*`gdn tune --db"):
            open_database(url, create=False, writable=writable)
    with open_database(url, create=True) as database, database.write() as session:
        session.execute(text(f"CREATE ROLE {LOCKED} LOGIN PASSWORD 'another one'"))
    refused = {
        url.replace("test_", "none_"): r"has no database none_\d+ .*`createdb none_\d+`",
        url.replace("tuner:", "stranger:"): "the server refuses the user",
        url.replace("tuner:", f"{LOCKED}:"): "the server refuses the user.*correct the password",
        url.replace(str(server.folder), "/nowhere"): "cannot be reached",
        url.replace("?", "?sslpassword=geheim&nonsense=1&"): "nonsense",
    }
    for given, message in refused.items():
        with pytest.raises(ResultsError, match=message) as caught:
            open_database(given, create=True)
        whole = "".join(format_exception(caught.value))
        assert PASSWORD not in whole and "geheim" not in whole


@pytest.mark.parametrize("given", ["mysql://u:geheim@h/d", "http://h/d", "sqlite:///results.db"])
def test_another_scheme_is_refused_by_name(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scheme = given.partition(":")[0]
    with pytest.raises(InvalidInput, match=f"{scheme}://.*give the path of") as caught:
        open_database(given, create=True)
    assert "geheim" not in str(caught.value) and not list(tmp_path.iterdir())


def test_a_call_reads_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_RESULTS_DB", f"postgresql://tuner:{PASSWORD}@nowhere.invalid/gdn")
    table = in_calls.load_winners()
    (fault,) = table.faults
    assert "`gdn pull postgresql://tuner@nowhere.invalid/gdn -o FILE`" in str(fault)
    assert PASSWORD not in str(fault)
    assert {w.database for w in table.winners} <= {in_calls.database_paths()[1]}


@pytest.mark.parametrize("place", ["file", "server"])
def test_tuners_that_set_winners_together_leave_the_fastest(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    location = tmp_path / "results.db" if place == "file" else request.getfixturevalue("url")
    benches = [Bench(location) for _ in range(8)]

    def tune(bench: Bench, number: int) -> None:
        for step in range(2):  # each finds faster ones, as a search does
            bench.win(median=float(10 + number - step))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(tune, benches, range(8)))
    store = benches[0].store
    assert len(store.winners(history=True)) == 16
    assert [w.median for w in store.winners()] == [9.0]
    for bench in benches:
        bench.close()


def test_a_winner_of_this_run_replaces_its_own_and_earlier_ones(url: str) -> None:
    first = Bench(url)
    first.win(median=1e-3)
    first.win(median=2e-3)
    later = Bench(url)
    later.win(median=3e-3)
    assert [w.median for w in later.store.winners()] == [3e-3]
    first.win(median=4e-3)
    assert [w.median for w in first.store.winners()] == [3e-3], "of a tuner that runs beside"
    first.win(median=2e-3, variant=chunk_32())
    assert [w.median for w in later.store.winners()] == [2e-3]
    for bench in (first, later):
        bench.close()


def test_a_restart_loses_no_write_and_repeats_none(
    server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ServerDatabase, "patience", 60.0)
    bench = Bench(url)
    told: list[str] = []
    bench.store.warn = told.append
    kept = [bench.record(stage_key(BK=32))]
    server.stop()
    restart = threading.Timer(0.3, server.start)
    restart.start()
    kept.append(bench.record(stage_key(BK=64)))
    restart.join()
    assert "cannot be reached" in told[0] and "tried again for up to 60 s" in told[0]
    assert len(told) == 1 and PASSWORD not in told[0]

    # the connection is lost before the commit, and after it, when only the answer is lost
    for lose in (before_commit, after_commit):
        with lose(bench.store, server):
            kept.append(bench.record(stage_key(BK=16)))
        with lose(bench.store, server):
            bench.win(median=2e-3)
    assert len(set(kept)) == len(kept) == 4
    stages = [t.id for t in bench.store.trials() if t.key.scope == "stage"]
    assert stages == kept, "no trial twice"
    assert len(bench.store.winners(history=True)) == 2
    bench.close()


def test_patience_ends(server: Server, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServerDatabase, "patience", 0.2)
    bench = Bench(url)
    bench.store.warn = lambda text: None
    server.stop()
    try:
        with pytest.raises(ServerGone, match="cannot be reached"):
            bench.record(stage_key(BK=32))
    finally:
        server.start()
    assert bench.store.trials() == []
    bench.close()


def test_a_writer_that_waits_too_long_says_so(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (servers, server_errors):
        monkeypatch.setattr(module, "LOCK_SECONDS", 0.1)
    bench = Bench(url)
    locked = r"another process has locked .* more than 0.1 s"
    with bench.store.database.write(), pytest.raises(ResultsError, match=locked):
        bench.store.retire_winner(1)
    bench.record(stage_key(BK=32))
    with bench.store.database.write():
        bench.record(stage_key(BK=64))  # trials are added without the lock
    bench.close()


def test_users_need_no_more_rights_than_the_guide_says(url: str) -> None:
    """One who owns the schema only, and one who only reads."""
    plain, reader = (url.replace("tuner:", f"{role}:") for role in ("plain", "reader"))
    owner = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with owner.begin() as connection:
        connection.execute(text("CREATE ROLE plain LOGIN; CREATE ROLE reader LOGIN"))
    with pytest.raises(ResultsError, match=r"the user of .* may not do this"):
        open_database(plain, create=True)
    with owner.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {SCHEMA} AUTHORIZATION plain"))
    bench = Bench(plain)
    bench.win()
    with owner.begin() as connection:
        connection.execute(text(f"GRANT USAGE ON SCHEMA {SCHEMA} TO reader"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO reader"))
    owner.dispose()
    assert len(read_winners(location_of(reader, "url")).winners) == 1
    with pytest.raises(ResultsError, match="its user may not write the tables"):
        open_database(reader, create=False)
    bench.close()


def test_a_tuner_that_hangs_does_not_keep_the_lock(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Bench(url)
    winner = other.win()
    monkeypatch.setattr(servers, "IDLE_SECONDS", 0.2)
    hung = open_database(url, create=False)
    with pytest.raises(ServerGone), hung.write() as session:
        other.store.retire_winner(winner)  # waits until the server ends the transaction
        session.execute(text("SELECT 1"))
    assert other.store.winners() == []
    for database in (hung, other.store.database):
        database.close()


@contextmanager
def before_commit(store: Store, server: Server) -> Iterator[None]:
    """The server ends the connection of the next transaction when it commits."""
    engine, left = store.database.engine, [1]

    @event.listens_for(engine, "commit")
    def commit(connection: Any) -> None:
        if left and left.pop():
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            with engine.connect() as other:
                other.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 5000)")

    yield
    event.remove(engine, "commit", commit)
    assert not left


@contextmanager
def after_commit(store: Store, server: Server) -> Iterator[None]:
    """The next transaction commits, and the connection is lost before the client hears of it."""
    database, left = store.database, [1]
    write = database.write

    @contextmanager
    def lossy(**options: bool) -> Iterator[Any]:
        with write(**options) as session:
            yield session
        if left and left.pop():
            raise ServerGone("the connection is lost.")

    database.write = lossy  # type: ignore[method-assign]
    yield
    del database.write  # type: ignore[method-assign]
    assert not left
