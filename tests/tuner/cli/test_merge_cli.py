"""``gdn merge`` as a user types it: what is printed, where it goes, and the exit codes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.dispatch.winners import read_winners
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.cli import run
from tests.problems import DECODE, FORWARD
from tests.results import ENVIRONMENT, Bench
from tests.tuner.store.test_merge import chunk_32, win


@pytest.fixture
def machines(tmp_path: Path) -> list[Path]:
    """Databases of three machines; two of them have the same environment and problem."""
    paths = []
    for name, arch, medians in (
        ("h200", "sm_90", (2e-3, 3e-3)), ("a100", "sm_80", (4e-3,)), ("h200", "sm_90", (1e-3,)),
    ):  # fmt: skip
        bench = Bench(
            tmp_path / f"{len(paths)}.db", replace(ENVIRONMENT, device=f"GPU {name}", arch=arch)
        )
        variant = chunk_32() if len(paths) == 2 else None
        for median in medians:
            win(bench, FORWARD, target=name, arch=arch, median=median, variant=variant)
        paths.append(bench.close())
    return paths


def test_three_machines_become_one_database(
    machines: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = tmp_path / "all.db"
    arguments = ["merge", *map(str, machines), "--into", str(into)]
    assert run([*arguments, "--dry-run"]) == 0
    dry = capsys.readouterr().out
    assert f"Dry run: {into} is unchanged." in dry and not into.exists()
    assert "Next: the same command without --dry-run." in dry
    assert run(arguments) == 0
    out, error = capsys.readouterr()
    assert not error
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["outcome", "source", "target", "problem", "winner", "median", "why"]
    assert [line[:4] for line in lines[1:4]] == [
        ["taken", str(machines[1]), "a100", FORWARD.bucket().id()],
        ["kept", str(machines[0]), "h200", FORWARD.bucket().id()],
        ["taken", str(machines[2]), "h200", FORWARD.bucket().id()],
    ]
    assert (
        f"{machines[2]}'s is preferred: as fast or faster in the same environment: 1.00 ms" in out
    )
    assert "Winners: 2 taken, 1 kept, 0 refused." in out
    assert "4 winners, 4 trials, 3 runs, 2 environments, 1 problem." in out
    assert f"`gdn show --db {into}`" in out
    medians = {w.target: w.median for w in read_winners(into).winners}
    assert medians == {"a100": 4e-3, "h200": 1e-3}
    assert run(arguments) == 0
    assert "0 winners, 0 trials, 0 runs, 0 environments, 0 problems." in capsys.readouterr().out


def test_the_default_destination_is_the_users_own_database(
    machines: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = tmp_path / "mine" / "results.db"
    monkeypatch.setenv("GDN_RESULTS_DB", str(mine))
    before = shipped_database().read_bytes()
    assert run(["merge", str(machines[1])]) == 0
    out = capsys.readouterr().out
    assert f"Stored in {mine}" in out and "which the functions use from now on" in out
    assert len(read_winners(mine).winners) == 1
    assert shipped_database().read_bytes() == before


def test_refused_rows_are_named_and_the_exit_code_is_1(
    machines: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(machines[1])
    win(bench, DECODE, target="a100", arch="sm_80")
    with closing(sqlite3.connect(bench.close())) as connection, connection:
        connection.execute('UPDATE winner_rows SET variant = \'{"plan": "gone"}\' WHERE id = 1')
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE runs SET workload = x'ff', status = 'running' WHERE id = 2")
    assert run(["merge", str(machines[1]), "--into", str(tmp_path / "all.db")]) == 1
    out, error = capsys.readouterr()
    assert "its variant can no longer be rendered: unknown plan 'gone'" in out
    assert "points to row 2 of trials, which is missing or was refused" in out
    assert f"refused row 2 of runs of {machines[1]}: workload: " in error
    assert "Winners: 0 taken, 0 kept, 2 refused; 2 other rows refused." in out
    assert "`gdn tune` on that device finds a winner in place of a refused one." in out


def test_stale_winners_are_taken_with_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "old.db")
    win(bench, stale=True)
    assert run(["merge", str(bench.close()), "--into", str(tmp_path / "all.db")]) == 0
    out = capsys.readouterr().out
    assert "kernels of 1 winner taken have changed" in out and "`gdn tune --again`" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "Missing argument"),
        (["{none}"], "there is no results database {none}"),
        (["{source}", "{none}"], "there is no results database {none}"),
        (["{source}", "--into", "{source}"], "is both a source and the destination"),
        (["{source}", "--into", "{shipped}"], "ships with gdn-ops and must not be written"),
        (["{text}"], "{text} is not an SQLite database"),
        (["~nobody-by-this-name/r.db"], "its home folder cannot be found"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    machines: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    monkeypatch.setenv("GDN_RESULTS_DB", str(tmp_path / "mine.db"))
    text = tmp_path / "notes.txt"
    text.write_text("no database")
    names = {
        "none": tmp_path / "none.db", "source": machines[0], "text": text,
        "shipped": shipped_database(),
    }  # fmt: skip
    assert run(["merge", *(word.format(**names) for word in arguments)]) == 2
    out, error = capsys.readouterr()
    assert says.format(**names) in error and not out
    assert error.count("\n") == 1
    assert not (tmp_path / "mine.db").exists()


def test_a_source_without_winners_is_merged_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Bench(tmp_path / "a.db").close()
    assert run(["merge", str(path), "--into", str(tmp_path / "all.db")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("No winners were offered.\n") and "1 run, 1 environment" in out
