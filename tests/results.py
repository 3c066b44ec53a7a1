"""A results database for tests: one environment, one problem, trials and winners on demand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.new_trial import NewTrial
from gdn_ops.tuner.store.records import NewWinner, Outcome, Trial, TrialKey
from gdn_ops.tuner.store.store import Store
from tests.problems import FORWARD

ENVIRONMENT = Environment(
    device="Test GPU", arch="sm_90", driver="590.1", torch="2.13.0", triton="3.7.1",
    python="3.11.7", platform="Linux-x86_64", threads=2,
)  # fmt: skip
OK = Outcome(
    status="ok", median=2e-3, low=1.9e-3, high=2.2e-3, samples=(1.9e-3, 2e-3, 2.2e-3),
    method="cpu-eager", errors={"o": 1e-6, "ht": float("nan")}, resources={"registers": 96},
)  # fmt: skip
VARIANT = Variant("torch", (("BT", 64),), (("torch_chunk", (("loop", "rolled"),)),))
SOURCES = {"chunk_o": "source of o", "chunk_h": "source of h"}
HANG = Outcome(status="timeout", message="killed after 60 s")


def stage_key(problem: Problem = FORWARD, target: str = "h200", **config: object) -> TrialKey:
    """A trial of one stage, by its config."""
    return TrialKey(
        target=target, arch="sm_90", problem_id=problem.bucket().id(), scope="stage",
        plan="split", stage="chunk_o", interface={"BT": 64, "gated_A": True}, config=config,
    )  # fmt: skip


@cache
def empty_database() -> bytes:
    """A database without rows, made once, because making one takes 20 times as long as a copy."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        with open_database(path, create=True):
            pass
        return path.read_bytes()


class Bench:
    """A store with a run under way, and the few steps that tests repeat.

    A file that does not exist is copied from an empty database; only one process may do that.

    Args:
        path: or the URL of a server, as text.
    """

    def __init__(self, path: Path | str, environment: Environment = ENVIRONMENT) -> None:
        self.path = Path(path)
        if isinstance(path, Path) and not path.exists():
            path.write_bytes(empty_database())
        self.store = Store(open_database(path, create=True))
        self.environment_id = self.store.add_environment(environment)
        self.run_id = self.store.start_run("quickstart", "h200", seed=7, options={"trials": 8})
        self.store.add_problem(FORWARD.bucket().id(), FORWARD.bucket().facts())

    def record(
        self,
        key: TrialKey,
        outcome: Outcome = OK,
        *,
        variant: Variant = VARIANT,
        sources: dict[str, str] | None = SOURCES,
    ) -> int:
        """Record a trial in this run and environment."""
        trial = NewTrial(
            key=key, outcome=outcome, run_id=self.run_id, environment_id=self.environment_id,
            variant_id=variant.id, sources=sources,
        )  # fmt: skip
        return self.store.record_trials([trial])[0].id

    def known(self, key: TrialKey, sources: dict[str, str] | None = SOURCES) -> Trial | None:
        """What the store knows of a key that is rendered to ``sources`` today."""
        return self.store.known_trial(
            key, self.environment_id, variant_id=VARIANT.id, sources=sources
        )

    def winner(
        self,
        problem: Problem = FORWARD,
        *,
        target: str = "h200",
        arch: str = "sm_90",
        median: float = 2e-3,
        predicted: bool = False,
        variant: Variant = VARIANT,
        sources: dict[str, str] | None = SOURCES,
    ) -> NewWinner:
        """A winner that could be set, its trial recorded."""
        problem = problem.bucket()
        self.store.add_problem(problem.id(), problem.facts())
        key = TrialKey(
            target=target, arch=arch, problem_id=problem.id(), scope="plan", plan="torch",
            interface=dict(variant.interface),
        )  # fmt: skip
        outcome = replace(OK, median=median)
        trial = None
        if not predicted:
            trial = self.record(key, outcome, variant=variant, sources=sources)
        return NewWinner(
            problem_id=problem.id(), target=target, arch=arch, variant_id=variant.id,
            variant=variant.to_json(), median=median, low=median * 0.9, high=median * 1.1,
            reference=None if predicted else 6e-3,
            provenance="predicted" if predicted else "measured",
            trial_id=trial, environment_id=None if predicted else self.environment_id,
        )  # fmt: skip

    def win(self, problem: Problem = FORWARD, **options: Any) -> int:
        """Set a winner."""
        return self.store.set_winner(self.winner(problem, **options))

    def close(self) -> Path:
        """End the run and give the file back."""
        self.store.finish_run(self.run_id)
        self.store.database.close()
        return self.path


def measured_winners() -> list[Winner]:
    """The winners that ship, without the predictions."""
    return [w for w in read_winners(shipped_database()).winners if w.provenance == "measured"]
