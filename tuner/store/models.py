"""The tables of a results database. Alembic upgrades them: see ``tuner/store/migrations``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from math import isfinite
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

RUN_STATUSES = ("running", "finished", "interrupted")
SCOPES = ("stage", "plan")
FAULT = "fault"
TRIAL_STATUSES = (
    "ok", "invalid", "compile-error", "spill", "wrong", "nondeterministic", "oom", "timeout",
    "crash", FAULT,
)  # fmt: skip
FAILED = ("compile-error", "spill", "wrong", "nondeterministic", "oom", "timeout", "crash")
"""Statuses of trials that put a config on the deny list of an export."""
PROVENANCES = ("measured", "predicted")

MAX_NESTING = 16
"""Most levels of nesting in a JSON column; the tuner writes at most 4."""


def to_json(value: object) -> str:
    """Standard JSON: NaN and infinities become strings, which ``float`` can read."""
    return json.dumps(_finite(value), allow_nan=False)


def canonical_json(value: object) -> str:
    """JSON that is the same for the same content, whatever the order of keys."""
    return json.dumps(_finite(value), allow_nan=False, sort_keys=True, separators=(",", ":"))


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


@dataclass(frozen=True)
class Malformed:
    """Stands for a value that its column cannot have, so that reading the other rows goes on."""

    reason: str


class UtcTime(TypeDecorator[Any]):
    """A moment, stored as ISO 8601 text in UTC. The text has a fixed width, so it sorts by time."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return value.astimezone(timezone.utc).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | Malformed | None:
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
        except (ValueError, TypeError):
            return Malformed(f"{value!r:.60} is not a moment in ISO 8601")
        return moment if moment.tzinfo else Malformed(f"{value!r:.60} has no time zone")

    @property
    def python_type(self) -> type[Any]:
        return datetime


class JsonObject(TypeDecorator[Any]):
    """A JSON object."""

    impl = JSON
    cache_ok = True
    python_type: type[Any] = dict

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        return _parsed


class JsonNumbers(JsonObject):
    """A JSON list of numbers."""

    cache_ok = True
    python_type = list


def _parsed(text: Any) -> Any:
    try:
        value = None if text is None else json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        return Malformed(f"{text!r:.60} is not JSON: {error}")
    return Malformed(f"{text!r:.60} is nested too deeply") if _deep(value, MAX_NESTING) else value


def _deep(value: object, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_deep(item, levels - 1) for item in items)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dict[str, Any]: JsonObject(none_as_null=True),
        list[float]: JsonNumbers(none_as_null=True),
        datetime: UtcTime(),
        float: Double(),
    }


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """A constraint that allows only these words in a text column."""
    words = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({words})", name=column)


class EnvironmentRow(Base):
    """What a time depends on besides config and source.

    ``template_hash`` is the hash of all templates; only rows from before trials had ``sources``
    have it.
    """

    __tablename__ = "environments"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(unique=True)
    device: Mapped[str]
    arch: Mapped[str]
    driver: Mapped[str | None]
    torch: Mapped[str]
    triton: Mapped[str | None]
    ptxas: Mapped[str | None]
    python: Mapped[str]
    platform: Mapped[str]
    threads: Mapped[int]
    template_hash: Mapped[str | None]
    harness_version: Mapped[int]


class ProblemRow(Base):
    """A problem bucket; ``id`` is ``Problem.id()``."""

    __tablename__ = "problems"

    id: Mapped[str] = mapped_column(primary_key=True)
    facts: Mapped[dict[str, Any]]


class RunRow(Base):
    """One run of ``gdn tune``; its ``uid`` is the same in every database it was merged into."""

    __tablename__ = "runs"
    __table_args__ = (one_of("status", RUN_STATUSES),)

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True)
    workload: Mapped[str]
    target: Mapped[str]
    seed: Mapped[int] = mapped_column(Integer().with_variant(BigInteger(), "postgresql"))
    options: Mapped[dict[str, Any]]
    status: Mapped[str]
    started: Mapped[datetime]
    finished: Mapped[datetime | None]


class TrialRow(Base):
    """One trial of a config, ok or failed. ``median``, ``low`` and ``high`` are seconds.

    ``sources`` is the hash of each stage's source, None if not known.
    """

    __tablename__ = "trials"
    __table_args__ = (
        one_of("scope", SCOPES),
        one_of("status", TRIAL_STATUSES),
        CheckConstraint("(scope = 'stage') = (stage IS NOT NULL)", name="stage"),
        CheckConstraint("status <> 'ok' OR median > 0", name="timed"),
        Index(None, "config_hash", "environment_id"),
        Index(None, "target", "problem_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    environment_id: Mapped[int] = mapped_column(ForeignKey("environments.id"))
    target: Mapped[str]
    arch: Mapped[str]
    problem_id: Mapped[str] = mapped_column(ForeignKey("problems.id"))
    scope: Mapped[str]
    plan: Mapped[str]
    stage: Mapped[str | None]
    interface: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    config_hash: Mapped[str]
    variant_id: Mapped[str | None]
    sources: Mapped[dict[str, Any] | None]
    status: Mapped[str]
    median: Mapped[float | None]
    low: Mapped[float | None]
    high: Mapped[float | None]
    samples: Mapped[list[float]]
    method: Mapped[str | None]
    errors: Mapped[dict[str, Any]]
    resources: Mapped[dict[str, Any]]
    message: Mapped[str]
    created: Mapped[datetime]


class WinnerRow(Base):
    """A winner; the one of a problem and target that is not superseded is current."""

    __tablename__ = "winner_rows"
    __table_args__ = (
        one_of("provenance", PROVENANCES),
        CheckConstraint("median > 0 AND low > 0 AND high > 0 AND reference > 0", name="seconds"),
        CheckConstraint(
            "provenance = 'predicted' OR "
            "(trial_id IS NOT NULL AND environment_id IS NOT NULL AND reference IS NOT NULL)",
            name="measured",
        ),
        Index(
            "uq_winner_rows_current",
            "problem_id",
            "target",
            unique=True,
            sqlite_where=text("superseded IS NULL"),
            postgresql_where=text("superseded IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True)
    problem_id: Mapped[str] = mapped_column(ForeignKey("problems.id"))
    target: Mapped[str]
    arch: Mapped[str]
    variant_id: Mapped[str]
    variant: Mapped[dict[str, Any]]
    median: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    reference: Mapped[float | None]
    provenance: Mapped[str]
    trial_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id"))
    environment_id: Mapped[int | None] = mapped_column(ForeignKey("environments.id"))
    created: Mapped[datetime]
    superseded: Mapped[datetime | None]
