"""The records that the store takes and returns. Times are in seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from math import isfinite
from sys import float_info
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.tuner.store.models import (
    FAULT,
    PROVENANCES,
    SCOPES,
    TRIAL_STATUSES,
    Base,
    RunRow,
    TrialRow,
    WinnerRow,
    canonical_json,
)

UNRANKED_METHODS = ("cuda-eager",)
"""Timing methods whose times are not ranked: on a GPU only CUDA graphs are; see ``Timer``."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of ``gdn tune``; its status is running, finished or interrupted."""

    id: int
    workload: str
    target: str
    seed: int
    options: Mapping[str, Any]
    status: str
    started: datetime
    finished: datetime | None

    @classmethod
    def of(cls, row: RunRow) -> Run:
        return cls(**_values(row, cls))


@dataclass(frozen=True, kw_only=True)
class TrialKey:
    """What was tried: one stage alone (scope ``stage``) or a whole plan (scope ``plan``).

    Args:
        interface: the values of the plan's interface axes; of a stage those that it reads.
        config: the stage's config; of a plan the config of every stage, by stage.
    """

    target: str
    arch: str
    problem_id: str
    scope: str
    plan: str
    stage: str | None = None
    interface: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise UnknownName.of("scope", self.scope, SCOPES)
        if (self.scope == "stage") != (self.stage is not None):
            raise InvalidInput(
                f"a trial of scope {self.scope!r} has stage {self.stage!r}; "
                "name a stage for scope 'stage', and none for scope 'plan'."
            )

    @property
    def variant(self) -> dict[str, Any]:
        """The variant of a whole plan, as ``Variant.from_json`` reads it; not checked."""
        return {"plan": self.plan, "interface": self.interface, "stages": self.config}

    @property
    def config_hash(self) -> str:
        """A hash that all trials of the same thing share; the order of axes does not matter."""
        facts = (
            self.target, self.problem_id, self.scope, self.plan, self.stage,
            self.interface, self.config,
        )  # fmt: skip
        return hashlib.sha256(canonical_json(facts).encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended.

    Args:
        status: one of ``TRIAL_STATUSES``. An ``ok`` trial must have times. A ``fault`` is the
            environment's, such as a full disk, and says nothing about what was tried.
        median, low, high: median seconds and the bounds of its bootstrap 95 % interval.
        samples: every measured time.
        method: how it was timed, e.g. ``cpu-eager`` or ``cuda-graph``.
        errors: RMS error ratio of each output; may be NaN or infinite.
        resources: registers, bytes of stack and shared memory etc., as the compiler reports them,
            and how the trial was timed.
        message: why it failed.
    """

    status: str
    median: float | None = None
    low: float | None = None
    high: float | None = None
    samples: tuple[float, ...] = ()
    method: str | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""

    def __post_init__(self) -> None:
        if self.status not in TRIAL_STATUSES:
            raise UnknownName.of("trial status", self.status, TRIAL_STATUSES)
        if self.status == "ok" and self.median is None:
            raise InvalidInput("an ok trial has no median time; give its times or another status.")
        require_seconds(median=self.median, low=self.low, high=self.high)

    @property
    def ranked_seconds(self) -> float | None:
        """The seconds by which this outcome is ranked among others; None if it has no rank.

        It has none if the variant is not right, or if only eager calls were timed on a device that
        ranks by CUDA graphs: eager times include the launches and do not compare with graphs'.
        """
        if self.status != "ok" or self.method in UNRANKED_METHODS:
            return None
        return self.median


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A stored trial."""

    id: int
    run_id: int
    environment_id: int
    key: TrialKey
    variant_id: str | None
    outcome: Outcome
    created: datetime
    sources: Mapping[str, str] | None = None

    def applies_to(self, variant_id: str | None, sources: Mapping[str, str] | None) -> bool:
        """Whether the outcome still applies to a variant, given the source it has today.

        A fault of the environment never does. An ok trial of a stage applies if the source of that
        stage is unchanged. A failed trial of a stage also needs the other stages unchanged if it is
        of the same variant, because the whole variant is run before its stage is timed.

        Args:
            variant_id: id of today's variant.
            sources: hash of each stage's source of today's variant; None if it does not render.
        """
        if self.outcome.status == FAULT or self.sources is None or sources is None:
            return False
        stage, ok = self.key.stage, self.outcome.status == "ok"
        if stage is None or (self.variant_id == variant_id and not ok):
            return self.sources == sources
        return stage in sources and self.sources.get(stage) == sources[stage]

    @classmethod
    def of(cls, row: TrialRow) -> Trial:
        """The trial of a row.

        Raises:
            ValueError, TypeError: the row is malformed.
        """
        _require_configs(row)
        outcome = _values(row, Outcome) | {"samples": _samples(row), "errors": _errors(row)}
        return cls(
            id=row.id,
            run_id=row.run_id,
            environment_id=row.environment_id,
            key=TrialKey(**_values(row, TrialKey)),
            variant_id=row.variant_id,
            outcome=Outcome(**outcome),
            created=row.created,
            sources=row.sources,
        )


@dataclass(frozen=True, kw_only=True)
class NewWinner:
    """The fastest correct variant for a problem bucket on a target.

    Args:
        variant: as ``Variant.to_json()`` gives it; ``variant_id`` is its ``id``.
        reference: seconds of the reference, timed in the same run; None if predicted.
        trial_id: the ok trial of the whole plan that measured it; None if predicted.
    """

    problem_id: str
    target: str
    arch: str
    variant_id: str
    variant: Mapping[str, Any]
    median: float
    low: float
    high: float
    reference: float | None
    provenance: str
    trial_id: int | None
    environment_id: int | None

    def __post_init__(self) -> None:
        if self.provenance not in PROVENANCES:
            raise UnknownName.of("provenance", self.provenance, PROVENANCES)
        require_seconds(median=self.median, low=self.low, high=self.high, reference=self.reference)
        parts = (self.reference, self.trial_id, self.environment_id)
        if self.provenance == "measured" and None in parts:
            raise InvalidInput(
                f"the measured winner {self.variant_id} of {self.problem_id} has no reference, "
                "trial or environment; give all three, or mark it 'predicted'."
            )

    @property
    def speedup(self) -> float | None:
        """How many times faster than the reference; None if the reference was not measured."""
        return None if self.reference is None else self.reference / self.median


@dataclass(frozen=True, kw_only=True)
class StoredWinner(NewWinner):
    """A stored winner; it is the current one unless ``superseded`` has a date."""

    id: int
    created: datetime
    superseded: datetime | None

    @classmethod
    def of(cls, row: WinnerRow) -> StoredWinner:
        return cls(**_values(row, cls))


def _require_configs(row: TrialRow) -> None:
    """Raise InvalidInput unless interface and configs map axes to values and sources are hashes."""
    configs = row.config if row.scope == "plan" else {"config": row.config}
    for name, config in {"interface": row.interface, **configs}.items():
        if not isinstance(config, dict) or any(isinstance(v, dict | list) for v in config.values()):
            raise InvalidInput(f"{name} is {config!r:.60}; it must be an object of axis values.")
    if not all(isinstance(source, str) for source in (row.sources or {}).values()):
        raise InvalidInput(f"sources is {row.sources!r:.60}; each source must be a hash.")


def _samples(row: TrialRow) -> tuple[float, ...]:
    for seconds in row.samples:
        if not 0 <= seconds <= float_info.max:
            raise InvalidInput(f"a sample is {seconds!r:.60} seconds; it must be finite and >= 0.")
    return tuple(row.samples)


def _errors(row: TrialRow) -> dict[str, float]:
    try:
        return {name: float(figure) for name, figure in row.errors.items()}
    except OverflowError as error:
        raise InvalidInput(f"errors has a number that is no float: {error}") from error


def require_seconds(**times: float | None) -> None:
    """Raise InvalidInput unless every given time is finite and > 0."""
    for name, seconds in times.items():
        if seconds is not None and not (isfinite(seconds) and seconds > 0):
            raise InvalidInput(
                f"{name} is {seconds} seconds; it must be finite and > 0. Leave out a time "
                "that was not measured."
            )


def _values(row: Base, record: type) -> dict[str, Any]:
    """The values of a row for the fields of a record."""
    return {item.name: getattr(row, item.name) for item in fields(record)}
