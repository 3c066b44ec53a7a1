"""Commands with the URL of a server: what they print, bring and refuse, and that no password shows.

The password is in each URL, and no output may have it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from gdn_ops.dispatch.winners import read_winners
from gdn_ops.results_path import location_of
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.store import Store
from tests.postgres import PASSWORD, Server, running_server
from tests.problems import DECODE, FORWARD
from tests.results import HANG, Bench, stage_key
from tests.tuner.store.test_merge import chunk_32, win


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


class Shell:
    """Runs commands with a folder of data of their own, and keeps the password out of sight."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capture = folder, capture

    def __call__(self, *arguments: str, code: int | None = 0) -> str:
        """What a command prints; its exit code is compared if one is given."""
        found = run(list(arguments))
        out, error = self._capture.readouterr()
        assert code in (None, found), out + error
        assert PASSWORD not in out + error
        files = [str(path) for path in self.folder.rglob("*")]
        assert not any(PASSWORD in name or "postgresql" in name for name in files)
        return out + error


@pytest.fixture
def gdn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("GDN_RESULTS_DB", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return Shell(tmp_path, capsys)


def shown(url: str) -> str:
    return url.replace(f":{PASSWORD}", "")


def test_a_pull_brings_winners_and_what_explains_and_exports_them(
    server: Server, gdn: Shell
) -> None:
    url, local = server.database("pulled"), gdn.folder / "gdn-ops" / "results.db"
    bench = Bench(url)
    win(bench, FORWARD, median=2e-3)
    win(bench, DECODE, median=1e-3)
    win(bench, FORWARD, target="a100", arch="sm_80", median=4e-3)
    bench.record(stage_key(BK=16), HANG)
    bench.record(stage_key(BK=32), HANG)
    bench.record(stage_key(BK=32))  # tried again, and right
    out = gdn("pull", url, "--target", "h200", "--dry-run")
    assert "Winners: 2 taken, 0 kept, 0 refused." in out and not local.exists()
    out = gdn("pull", url, "--target", "h200")
    assert "2 winners, 3 trials, 1 run, 1 environment, 2 problems" in out
    assert f"Stored in {local}" in out and "which the functions use from now on" in out
    assert {(w.target, w.median) for w in read_winners(local).winners} == {
        ("h200", 2e-3), ("h200", 1e-3),
    }  # fmt: skip
    with open_database(local, create=False, writable=False) as database:
        failed = [t.key.config for t in Store(database).trials(status="timeout")]
    assert failed == [{"BK": 16}]
    (there,) = described([location_of(url, "url")], targets=["h200"])
    (here,) = described([local], targets=["h200"])
    assert [d.trial.key for d in here.denied] == [d.trial.key for d in there.denied]
    proofs = [
        repr([(w.trial.outcome, w.environment) for w in found.winners if w.trial])
        for found in (here, there)
    ]
    assert proofs[0] == proofs[1]

    # the server has replaced one winner by a slower one, retired one, and kept one unusable
    win(bench, FORWARD, median=3e-3, variant=chunk_32())
    (decode,) = bench.store.winners(problem_id=DECODE.bucket().id())
    bench.store.retire_winner(decode.id)
    with bench.store.database.write() as session:
        session.execute(text("UPDATE winner_rows SET variant = '[]' WHERE target = 'a100'"))
    out = gdn("pull", url, code=1)
    assert "Winners: 1 taken, 0 kept, 1 refused, 1 withdrawn." in out
    assert f"{shown(url)} has superseded" in out
    assert [w.median for w in read_winners(local).winners] == [3e-3]
    assert "1 winner, 1 trial" not in gdn("pull", url, code=1), "again, it brings nothing"
    out = gdn("pull", url, "--target", "b200", code=2)
    assert f"{shown(url)} has no winners of b200; it has winners of a100, h200" in out
    bench.close()


def test_commands_work_on_a_server(
    server: Server, gdn: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, file = server.database("worked"), gdn.folder / "mine.db"
    bench = Bench(file)
    win(bench, FORWARD, median=2e-3)
    bench.close()
    out = gdn("merge", str(file), "--into", url, "--dry-run")
    assert f"Dry run: {shown(url)} is unchanged." in out
    assert f"there are no results in {shown(url)}" in gdn("show", "--db", url, code=2)
    out = gdn("merge", str(file), "--into", url)
    assert "1 taken" in out and f"`gdn pull {shown(url)}` on each machine" in out
    assert "1 kept" in gdn("merge", str(file), "--into", url, "--dry-run")
    out = gdn("show", "--db", url)
    assert FORWARD.bucket().id() in out and f"read from {shown(url)}" in out
    options = [
        "--H", "2", "--HV", "4", "--K", "64", "--dtype", "fp32", "--tokens", "128",
        "--sequences", "2", "--final-state", "--target", "h200",
    ]  # fmt: skip
    assert f"exact winner: row 1 of {shown(url)}" in gdn("explain", *options, "--db", url)
    assert "exact winner" not in gdn("explain", *options)
    gdn("export", "winners", "--db", url, "-o", "out")
    assert [w.median for w in read_winners(gdn.folder / "out" / "h200.db").winners] == [2e-3]
    assert "run `gdn tune` first" in gdn("bench", "--cost-model", "--db", url, code=1)
    monkeypatch.setenv("GDN_RESULTS_DB", url)
    assert f"read from {shown(url)}" in gdn("show")
    assert f"exact winner: row 1 of {shown(url)}" in gdn("explain", *options)
    assert "Stored in" in gdn("pull", "-o", "pulled.db")
    assert shown(url) in gdn("doctor", code=None)
    out = gdn("check", "--db", url, code=2)
    assert "`gdn pull URL -o FILE`" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("tune", "--db", "mysql://u:{}@h/d"),
        ("show", "--db", "http://u:{}@h/d"),
        ("merge", "sqlite:///x.db?password={}"),
        ("pull", "postgresql://u:{}@@h/d"),
        ("pull", "postgresql://u:{}:5/d"),
        ("pull", "results.db"),
        ("pull",),
        ("pull", "postgresql://u:{}@h/d", "-o", "postgresql://u:{}@h/e"),
        ("tune", "postgresql://u:{}@h/d"),
        ("show", "postgresql://u:{}@h/d"),
        ("render", "--plan", "postgresql://u:{}@h/d"),
    ],
)
def test_what_is_refused_makes_nothing_and_shows_no_password(
    gdn: Shell, arguments: tuple[str, ...]
) -> None:
    gdn(*(text.format(PASSWORD) for text in arguments), code=2)
    assert list(gdn.folder.iterdir()) == []


def test_without_psycopg_the_error_says_what_to_install(
    gdn: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    out = gdn("show", "--db", f"postgresql://u:{PASSWORD}@h/d", code=2)
    assert "`pip install 'gdn-ops[postgres]'`" in out
