"""``python -m bench.store``: makes a large results database and times what reads and writes it.

Times are CPU times, of commands those of the whole process, so that they hold on a busy machine
too; wall-clock times stand beside them. Inserts wait for the disk, so theirs are wall-clock times.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

import torch
from sqlalchemy import func, select

from bench.rows import Row, markdown
from bench.store.filling import fill, problems
from bench.store.searching import seconds_per_trial
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.device import target_of
from gdn_ops.dispatch.results_file import COMMAND_SECONDS
from gdn_ops.dispatch.winners import load_winners, read_winners
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.measure.fingerprint import fingerprint
from gdn_ops.tuner.spaces.space import plan_key
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.models import TrialRow
from gdn_ops.tuner.store.new_trial import NewTrial
from gdn_ops.tuner.store.records import Outcome
from gdn_ops.tuner.store.store import Store

ROUNDS = 5
INSERTED, BATCH = 512, 32
FINISHED = 100
"""Problems of the tuning run in which all are finished."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--trials", type=int, default=1_000_000)
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--db", type=Path, help="Made if it does not exist; kept. Default: made.")
    parser.add_argument("-o", "--out", type=Path, help="Also write the table to this file.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gdn-store-") as folder:
        path = given.db or Path(folder) / "results.db"
        if not path.exists():
            begin = time.perf_counter()
            fill(path, trials=given.trials, problem_count=given.problems)
            seconds = time.perf_counter() - begin
            print(f"{path}: {path.stat().st_size / 1e6:.0f} MB, made in {seconds:.0f} s")
        heading, rows = _heading(path), list[Row]()
        for part in (
            lambda: _lookups(path, given.problems),
            lambda: _inserts(path),
            lambda: _commands(path, folder),
            lambda: _searches(folder),
        ):
            rows += part()
            text = f"{heading}\n\n{markdown(rows)}\n"
            if given.out is not None:
                given.out.write_text(text)
    print(text)


def _heading(path: Path) -> str:
    """The machine, and how busy it is."""
    here = fingerprint("cpu", arch=target_of(torch.device("cpu")).arch)
    with open_database(path, create=False, writable=False) as database, database.read() as session:
        trials = session.scalar(select(func.count()).select_from(TrialRow))
    when = datetime.now(timezone.utc).isoformat(timespec="seconds")
    load = os.getloadavg()[0]
    return (
        f"{here.device}, {cores()} cores, on which {load:.1f} processes ran on average when it "
        f"began; Python {here.python}, torch {here.torch}; {when}. The database has {trials} "
        f"trials, {path.stat().st_size / 1e6:.0f} MB."
    )


def _lookups(path: Path, count: int) -> list[Row]:
    target = target_of(torch.device("cpu"))
    begin = time.process_time()
    # not limited as in a call, so that a load that is too slow there is seen here
    table = load_winners([path], lambda path: read_winners(path, seconds=COMMAND_SECONDS))
    loading = time.process_time() - begin
    for fault in table.faults:
        raise SystemExit(str(fault))
    stored = problems(count)[:: max(1, count // 50)]
    next(table.candidates(stored[0].id(), stored[0].facts(), target))  # makes the groups
    near = replace(stored[0], tokens=2**25)

    def nearest() -> object:
        return next(table.candidates(near.id(), near.facts(), target))

    with open_database(path, create=False) as database:
        store = Store(database)
        return [
            Row("winners of all targets, read by the first call", 1e3 * loading, "ms", 1000,
                most=True,
                detail={"winners": len(table.winners)}),
            Row("look-up of a winner in a call", 1e3 * _median(lambda: [
                next(table.candidates(p.id(), p.facts(), target)) for p in stored
            ]) / len(stored), "ms", 1, most=True),
            Row("look-up of the nearest winner", 1e3 * _median(nearest), "ms", 1, most=True),
            Row("look-up of a winner by the tuner", 1e3 * _median(lambda: [
                store.winner(p.id(), target.name) for p in stored
            ]) / len(stored), "ms", 1, most=True),
        ]  # fmt: skip


def _inserts(path: Path) -> list[Row]:
    """Rows per second, in transactions of one trial and of a batch; the rows stay in the file."""
    target = target_of(torch.device("cpu"))
    (problem,) = problems(1)
    variant = Variant.default("torch", problem)
    key = plan_key(problem, target, variant)
    outcome = Outcome(status="compile-error", message="bench.store")
    with open_database(path, create=False) as database:
        store = Store(database)
        environment = store.add_environment(
            replace(fingerprint("cpu", arch=target.arch), device=f"bench {uuid4().hex}")
        )
        run = store.start_run("bench", target.name, seed=0, options={})

        def rate(batch: int) -> float:
            begin = time.perf_counter()
            for _ in range(INSERTED // batch):
                store.record_trials([
                    NewTrial(key=key, outcome=outcome, run_id=run, environment_id=environment)
                    for _ in range(batch)
                ])  # fmt: skip
            return INSERTED / (time.perf_counter() - begin)

        rows = [
            Row("trials recorded, one transaction each", rate(1), "rows/s", 50),
            Row(f"trials recorded, {BATCH} that end together", rate(BATCH), "rows/s", 2000),
        ]
        store.finish_run(run)
    return rows


def _searches(folder: str) -> list[Row]:
    """The tuner's own CPU time per trial; the search needs no large database."""
    return [
        Row(f"the tuner's own time per trial, {strategy}, at {trials} trials",
            1e3 * seconds_per_trial(
                Path(folder) / f"{strategy}-{trials}.db", trials=trials, strategy=strategy,
                last=100,
            ), "ms", 20, most=True)
        for strategy in ("enumeration", "model")
        for trials in (1000, 10_000)
    ]  # fmt: skip


def _commands(path: Path, folder: str) -> list[Row]:
    workload = Path(folder) / "finished.json"
    facts = [problem.facts() for problem in problems(2000)[:FINISHED]]
    workload.write_text(json.dumps({"problems": facts}))
    finished = ("tune", str(workload), "--db", str(path), "--minutes", "1")
    commands = {
        f"gdn {' '.join(arguments)}": (arguments, 1.0)
        for arguments in (
            ("show",), ("show", "--target", "h200"), ("explain",), ("explain", "--target", "h200"),
        )
    }  # fmt: skip
    commands[f"gdn tune of {FINISHED} finished problems"] = (finished, 2.0)
    found = []
    for what, (arguments, bar) in commands.items():
        samples = sorted(_gdn(path, *arguments) for _ in range(ROUNDS))
        cpu, wall = samples[ROUNDS // 2]
        detail = {"wall-clock s": f"{wall:.2f}"}
        found.append(Row(what, cpu, "s", bar, most=True, detail=detail))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3
    return [*found, Row("memory of the largest of these", memory, "MB", 500, most=True)]


def _gdn(path: Path, *arguments: str) -> tuple[float, float]:
    """Run a command; return the CPU seconds of its processes, and its wall-clock seconds."""
    begin, before = time.perf_counter(), os.times()
    subprocess.run(
        [sys.executable, "-m", "gdn_ops.tuner.cli", *arguments],
        env=os.environ | {"GDN_RESULTS_DB": str(path)}, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    after, wall = os.times(), time.perf_counter() - begin
    cpu = after.children_user + after.children_system
    return cpu - before.children_user - before.children_system, wall


def _median(function: Callable[[], object]) -> float:
    samples = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        function()
        samples.append(time.process_time() - begin)
    return statistics.median(samples)


if __name__ == "__main__":
    main()
