"""Description: what is exported for one target, whatever the format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winner import Winner
from gdn_ops.results_url import Location
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.store.records import Trial


class LeftOut(UserWarning):
    """Names a row of a database that a format leaves out, and says why."""


@dataclass(frozen=True, kw_only=True)
class ExportedWinner:
    """A winner with the proof of it.

    Args:
        winner: the winner as stored.
        problem: the bucket that it was tuned for.
        variant: its variant, every value checked.
        sources: the hash of each stage's code as it is exported, by stage.
        trial: the trial that measured it; None if it is predicted.
        environment: the environment of that trial.
        ptxas: the version of ptxas in that environment; None if it is not known.
        instead_of: the installed library that won the problem, e.g. ``fla 0.6.0``, if this is our
            own best variant; empty if it won itself.
    """

    winner: Winner
    problem: Problem
    variant: Variant
    sources: Mapping[str, str]
    trial: Trial | None = None
    environment: Environment | None = None
    ptxas: str | None = None
    instead_of: str = ""

    @property
    def stale(self) -> bool:
        """Whether the code has changed since it was measured."""
        return self.winner.provenance == "measured" and self.winner.sources != self.sources

    def facts(self) -> dict[str, Any]:
        """The winner and its proof as a JSON object; times are in seconds."""
        winner, trial = self.winner, self.trial
        return {
            "problem": self.problem.id(),
            "facts": self.problem.facts(),
            "variant_id": self.variant.id,
            "variant": self.variant.to_json(),
            "sources": dict(self.sources),
            "provenance": winner.provenance,
            "instead_of": self.instead_of or None,
            "stale": self.stale,
            "median": winner.median,
            "low": winner.low,
            "high": winner.high,
            "reference": winner.reference,
            "created": winner.created,
            "database": winner.database.name,
            "trial": winner.trial_id,
            "environment": self._environment(),
            "method": None if trial is None else trial.outcome.method,
            "samples": winner.provenance if trial is None else list(trial.outcome.samples),
            "errors": {} if trial is None else _finite(trial.outcome.errors),
        }

    def _environment(self) -> dict[str, Any] | None:
        if self.environment is None:
            return None
        return {**asdict(self.environment), "ptxas": self.ptxas}


@dataclass(frozen=True, kw_only=True)
class Denied:
    """A config that failed on the exported target with the toolchain of its environment."""

    trial: Trial
    environment: Environment

    def facts(self) -> dict[str, Any]:
        """The config, how it failed and with which versions, as a JSON object."""
        key, outcome = self.trial.key, self.trial.outcome
        return {
            "problem": key.problem_id,
            "plan": key.plan,
            "stage": key.stage,
            "interface": dict(key.interface),
            "config": dict(key.config),
            "status": outcome.status,
            "message": outcome.message.partition("\n")[0][:200],
            "trial": self.trial.id,
            "driver": self.environment.driver,
            "torch": self.environment.torch,
            "triton": self.environment.triton,
        }


@dataclass(frozen=True, kw_only=True)
class Description:
    """What is exported for one target.

    Args:
        target: the hardware.
        winners: the winners, at most one per problem, ordered by problem.
        denied: configs of the same problems that failed, ordered by trial.
        left_out: a sentence for each winner that cannot be exported.
        databases: the results databases that were read, the preferred one first.
        wanted: the ids of the problems that were asked for; None for all.
    """

    target: Target
    winners: tuple[ExportedWinner, ...]
    denied: tuple[Denied, ...] = ()
    left_out: tuple[str, ...] = ()
    databases: tuple[Location, ...] = ()
    wanted: frozenset[str] | None = None

    @property
    def instead(self) -> list[str]:
        """A sentence for each winner that takes the place of an installed library."""
        return [
            f"{w.instead_of} won {w.problem.id()} on {self.target.name}, and an export has no part "
            f"of a library: our own best variant {w.variant} takes its place."
            for w in self.winners
            if w.instead_of
        ]

    @property
    def aliases(self) -> list[str]:
        """Names of the device: as drivers report it, and as data sheets do."""
        devices = {w.environment.device for w in self.winners if w.environment is not None}
        return sorted(devices | {self.target.device} - {""})


def _finite(errors: Mapping[str, float]) -> dict[str, float | str]:
    """The errors, with NaN and infinity as text: JSON has no such numbers."""
    return {k: x if x - x == 0 else str(x) for k, x in errors.items()}
