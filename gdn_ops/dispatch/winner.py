"""Winners: the fastest correct variant known for a problem bucket on a target."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.distance import SIZE_FACTS, Place, shared_facts
from gdn_ops.dispatch.doubt import is_doubtful, load
from gdn_ops.dispatch.row_values import Row, json_object, seconds, text, text_or_none
from gdn_ops.dispatch.staleness import changes
from gdn_ops.dispatch.winner_proofs import read_proofs
from gdn_ops.results_path import rendered_folder, shipped_database
from gdn_ops.results_url import Location

PROVENANCES = ("measured", "predicted")


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The fastest correct variant known for a problem bucket on a target.

    Args:
        problem_id: the name of the bucket, as ``Problem.id()`` returns it.
        facts: the problem, as ``Problem.facts()`` returns it.
        target: the name of the target.
        arch: the architecture of the target.
        variant_id: the hash that names the variant.
        variant: plan, interface and stages, as ``Variant.to_json()`` returns them; not checked.
        median: the median time in seconds.
        low, high: the bounds of its 95 % confidence interval, in seconds; of a prediction, those
            between which the true time is in 9 of 10 cases.
        reference: seconds of the reference implementation in the same run; None if predicted.
        provenance: ``measured`` or ``predicted``.
        trial_id: the row of ``trials`` that measured it, in ``database``.
        device, driver, torch, triton, ptxas: the device and the versions it was measured with;
            None if unknown or if the device has none.
        created: when, ISO 8601, UTC.
        database: where it was read from.
    """

    problem_id: str
    facts: Mapping[str, Any]
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
    device: str | None
    torch: str | None
    triton: str | None
    created: str
    database: Location
    driver: str | None = None
    ptxas: str | None = None

    @property
    def named(self) -> str:
        """Its variant as people read it; its id and the reason if that is not possible."""
        try:
            return Variant.from_json(self.variant, Problem.from_facts(self.facts)).named
        except (GdnError, KeyError, TypeError) as error:
            return f"{self.variant_id} (unusable: {error})"

    @property
    def text(self) -> str | None:
        """Its variant as tables print it, without the id; None if that is not possible."""
        try:
            return str(Variant.from_json(self.variant, Problem.from_facts(self.facts)))
        except (GdnError, KeyError, TypeError):
            return None

    @property
    def speedup(self) -> float | None:
        """How many times as fast as the reference; None if no reference was measured."""
        return None if self.reference is None else self.reference / self.median

    @property
    def ships_unmeasured(self) -> bool:
        """Whether it is a prediction that ships with gdn-ops, so nobody here asked for it.

        What ships in an exported library was asked for by the one who exported it.
        """
        shipped = self.provenance == "predicted" and self.database == shipped_database()
        return shipped and rendered_folder() is None

    @cached_property
    def sources(self) -> Mapping[str, Any] | None:
        """The hash of each stage's source when it was measured; None if unknown.

        They are read from the file at the first access, and from a server with the winner. A call
        does not need them, and they are in the table of trials, which may be too large for a call.
        """
        read_proofs([self])
        sources: Mapping[str, Any] | None = self.__dict__["sources"]
        return sources

    @cached_property
    def conditions(self) -> Any:
        """The conditions under which it was measured, as its timer reported them; not checked.

        They are read as ``sources`` are; None if unknown.
        """
        read_proofs([self])
        return self.__dict__["conditions"]

    @cached_property
    def kernels(self) -> Hashable:
        """Equal for problems that may share a winner."""
        return shared_facts(self.facts)

    @cached_property
    def place(self) -> Place:
        return Place.of(self.facts)

    @cached_property
    def stale(self) -> str:
        """Why its times may no longer hold; empty if nothing has changed since it was measured.

        It is stale if the source of its kernels has changed, if the old source is unknown, if the
        variant can no longer be rendered, or if another Triton or ptxas (for plan ``torch`` another
        PyTorch, for a provider another version of it) would run it here. A prediction is never
        stale. The first access renders the variant; reading and choosing winners do not.
        """
        return "" if self.provenance == "predicted" else "; ".join(changes(self))

    @property
    def doubtful(self) -> str:
        """Why its time is not to be relied on; empty if it is."""
        if self.provenance == "predicted":
            return ""
        if is_doubtful(self.low, self.high):
            return (
                f"its times vary by a factor of {self.high / self.low:.1f}: other processes or "
                "changing clocks disturbed the measurement"
            )
        return load(self.conditions)


class Parsed(dict[str, dict[str, Any]]):
    """JSON objects by their texts, of which many rows have the same; they are not changed."""

    def object(self, row: Row, key: str) -> dict[str, Any]:
        text = row[key]
        found = self.get(text) if isinstance(text, str) else None
        if found is None:
            found = self[text] = json_object(row, key)
        return found


def winner_of(row: Row, database: Location, parsed: Parsed | None = None) -> Winner:
    """The winner of a row of the view ``winners``; JSON columns are text.

    Args:
        parsed: remembers what was parsed, for many rows of one database.

    Raises:
        ValueError, RecursionError: the row is malformed.
    """
    parsed = Parsed() if parsed is None else parsed
    facts, variant = parsed.object(row, "facts"), parsed.object(row, "variant")
    for key in SIZE_FACTS:
        if type(facts.get(key)) is not int or facts[key] < 1:
            raise ValueError(f"fact {key} is {facts.get(key)!r}, not an integer >= 1")
    if row["provenance"] not in PROVENANCES:
        raise ValueError(f"provenance is {row['provenance']!r}, not one of {PROVENANCES}")
    if row["trial_id"] is not None and type(row["trial_id"]) is not int:
        raise ValueError(f"trial_id is {row['trial_id']!r}, not a row number")
    return Winner(
        facts=facts,
        variant=variant,
        median=seconds(row, "median"),
        low=seconds(row, "low"),
        high=seconds(row, "high"),
        reference=None if row["reference"] is None else seconds(row, "reference"),
        provenance=row["provenance"],
        trial_id=row["trial_id"],
        database=database,
        device=text_or_none(row, "device"),
        torch=text_or_none(row, "torch"),
        triton=text_or_none(row, "triton"),
        driver=text_or_none(row, "driver"),
        ptxas=text_or_none(row, "ptxas"),
        problem_id=text(row, "problem_id"),
        target=text(row, "target"),
        arch=text(row, "arch"),
        variant_id=text(row, "variant_id"),
        created=text(row, "created"),
    )
