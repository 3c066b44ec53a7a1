"""The predictions that ship: fills results.db with the choice for the common problems on each GPU.

    python -m bench.predictions              # every GPU that the cost model can count
    python -m bench.predictions h200 b200    # only these
    python -m bench.predictions --check      # compiles nothing: which predictions are out of date?

Measured winners are not touched. What was compiled is kept in the cache folder, so an interrupted
run goes on where it stopped, and a second run compiles nothing and leaves the file as it is. Beside
it, bench/results/predictions.json says from which sources and with which compilers each GPU was
predicted, and what was left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import delete, select

from gdn_ops.codegen.compiled.warp_cycles import LATENCIES
from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.results_path import cache_folder, shipped_database
from gdn_ops.toolchain import ptxas_version, triton_version
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.cost.certainty import ELSEWHERE, ERRORS
from gdn_ops.tuner.cost.compiled_file import COUNTS, COUNTS_OF, CompiledFile
from gdn_ops.tuner.cost.many_targets import TargetPredictions, predict_targets, predicted_targets
from gdn_ops.tuner.cost.reached import REACHED
from gdn_ops.tuner.cost.stored_predictions import store_predictions
from gdn_ops.tuner.spaces.workloads import buckets, workload_named
from gdn_ops.tuner.store.db import Database, open_database, publish
from gdn_ops.tuner.store.models import ProblemRow, TrialRow, WinnerRow
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.workers.worker_pool import WorkerPool

WORKLOAD = "common"
ORIGIN = Path(__file__).parent / "results" / "predictions.json"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.predictions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("targets", nargs="*", help="names of GPUs; default: all")
    parser.add_argument("--check", action="store_true", help="only say what is out of date")
    given = parser.parse_args(arguments)
    targets = [target_named(name) for name in given.targets] or list(predicted_targets())
    path = shipped_database().resolve()
    if given.check:
        faults = outdated(path, targets)
        for fault in faults:
            print(fault)
        print("`make predictions` makes them anew" if faults else "up to date")
        return 1 if faults else 0
    with (
        TemporaryDirectory(prefix="gdn-predictions-") as folder,
        WorkerPool(cores(), threads=1) as pool,
    ):
        draft = Path(folder) / "results.db"
        draft.write_bytes(path.read_bytes())
        predict(path, draft, targets, pool)
    return 0


def predict(path: Path, draft: Path, targets: Sequence[Target], pool: WorkerPool) -> None:
    """Predict the common problems, and write the file anew after each target that changes it.

    Args:
        draft: a copy of the file, which is written to.
    """
    problems = buckets(workload_named(WORKLOAD).problems)
    file = CompiledFile(cache_folder() / "compiled.jsonl")
    start = time.monotonic()
    for found in predict_targets(problems, targets, pool, file=file):
        best = [ranking.predictions[0] for ranking in found.rankings.values()]
        with open_database(draft, create=False) as database:
            before = _rows(database)
            kept = store_predictions(Store(database), found.target, best)
            remove_others(database, found.target.name, {p.problem.id() for p in best})
            changed = _rows(database) != before
        if changed:
            publish(draft, path)
        _write_origin(found, read_winners(path).winners)
        end = "" if changed else ", unchanged"
        seconds = time.monotonic() - start
        print(f"{found.target.name}: {kept} predicted{end}, after {seconds:.0f} s", flush=True)
        for problem, reason in found.left_out.items():
            print(f"  left out {problem.id()}: {reason}", flush=True)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def remove_others(database: Database, target: str, problems: Collection[str]) -> None:
    """Delete the predictions for a target that are superseded or of other problems.

    A user's results are never deleted, so the store cannot do this. A prediction can be made again.
    """
    mine = (WinnerRow.provenance == "predicted") & (WinnerRow.target == target)
    old = WinnerRow.superseded.is_not(None) | WinnerRow.problem_id.not_in(problems)
    used = select(WinnerRow.problem_id).union(select(TrialRow.problem_id))
    with database.write() as session:
        session.execute(delete(WinnerRow).where(mine & old))
        session.execute(delete(ProblemRow).where(ProblemRow.id.not_in(used)))


def outdated(path: Path, targets: Iterable[Target]) -> list[str]:
    """What is wrong with the predictions for some targets, a sentence each."""
    winners, origin = read_winners(path).winners, _origin()
    common = {problem.id() for problem in buckets(workload_named(WORKLOAD).problems)}
    faults = []
    for target in targets:
        mine = [w for w in winners if w.target == target.name and w.provenance == "predicted"]
        known = origin.get(target.name)
        if not mine or known is None:
            faults.append(f"{target.name} has no predictions")
            continue
        broken = [f"{w.problem_id}: {why}" for w in mine if (why := unusable(w))]
        changed = {w.problem_id for w in mine} | set(known["left_out"])
        if broken:
            faults.append(f"{target.name} has predictions that cannot run: {'; '.join(broken)}")
        elif not common <= changed | {w.problem_id for w in winners if w.target == target.name}:
            faults.append(f"{target.name} was predicted for other problems than today's")
        elif digest(mine) != known["sources"]:
            faults.append(f"{target.name} was predicted before the templates changed")
        elif known.get("model") != model_version(target.arch):
            faults.append(f"{target.name} was predicted by an older cost model")
    return faults


def unusable(winner: Winner) -> str:
    """Why a prediction cannot run; empty if it can. The dispatcher passes such a row over."""
    target = TARGETS.get(winner.target)
    if target is None:
        return "its target has no row in codegen/targets.py"
    try:
        problem = Problem.from_facts(winner.facts)
        variant = Variant.from_json(winner.variant, problem)
        source_hashes(problem, variant)
    except (GdnError, KeyError, TypeError) as error:
        return f"it does not render: {error}"
    return "; ".join(variant.reasons(problem, target))


def model_version(arch: str) -> str:
    """A hash of what the cost model counts in an architecture's code, and of its constants."""
    parts = [
        COUNTS_OF.get(arch, COUNTS),
        asdict(LATENCIES),
        asdict(REACHED),
        dict(ERRORS),
        ELSEWHERE,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def digest(winners: Iterable[Winner]) -> str:
    """A hash of the variants of some winners and of the code of their stages today."""
    rows = []
    for winner in winners:
        problem = Problem.from_facts(winner.facts)
        hashes = source_hashes(problem, Variant.from_json(winner.variant, problem))
        rows.append([winner.problem_id, winner.variant_id, sorted(hashes.items())])
    return hashlib.sha256(json.dumps(sorted(rows)).encode()).hexdigest()[:16]


def _origin() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ORIGIN.read_text()) if ORIGIN.exists() else {}
    return found


def _write_origin(found: TargetPredictions, winners: Iterable[Winner]) -> None:
    target = found.target
    mine = [w for w in winners if w.target == target.name and w.provenance == "predicted"]
    origin = _origin() | {
        target.name: {
            "problems": len(mine),
            "sources": digest(mine),
            "model": model_version(target.arch),
            "triton": triton_version(),
            "ptxas": ptxas_version(target.arch),
            "left_out": {problem.id(): why for problem, why in found.left_out.items()},
        }
    }
    order = [name for name in TARGETS if name in origin]
    text = json.dumps({name: origin[name] for name in order}, indent=1)
    ORIGIN.write_text(f"{text}\n")


def _rows(database: Database) -> set[tuple[object, ...]]:
    with database.read() as session:
        rows = session.execute(select(WinnerRow.uid, WinnerRow.superseded))
        return {tuple(row) for row in rows}


if __name__ == "__main__":
    sys.exit(main())
