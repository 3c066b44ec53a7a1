"""The winners of all databases, and how each of them fits a problem."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import kindred, same_device
from gdn_ops.dispatch.distance import Place, shared_facts
from gdn_ops.dispatch.winner import Winner
from gdn_ops.results_url import Location

Key = TypeVar("Key", bound=Hashable)

HOW = ("exact", "nearest", "same arch", "kindred arch", "predicted")
"""How a winner fits a problem, from the best fit to the worst."""


@dataclass(frozen=True)
class SkippedRow:
    """A row of the view that cannot be used, with the reason."""

    database: Location
    problem_id: str
    reason: str


@dataclass(frozen=True)
class WinnerTable:
    """The winners of all databases, in the order in which the databases are read.

    Args:
        winners: the winners that could be read.
        skipped: the rows that could not.
        faults: one error for each database that could not be read.
        own: our own best variants of problems whose winner is a provider, for where it is missing.
    """

    winners: tuple[Winner, ...]
    skipped: tuple[SkippedRow, ...] = ()
    faults: tuple[ResultsError, ...] = ()
    own: tuple[Winner, ...] = ()

    @cached_property
    def _database_order(self) -> dict[Location, int]:
        return {name: i for i, name in enumerate(dict.fromkeys(w.database for w in self.winners))}

    @cached_property
    def _by_problem(self) -> dict[str, list[Winner]]:
        return _grouped(self.winners, lambda winner: winner.problem_id)

    @cached_property
    def _by_kernels(self) -> dict[Hashable, list[Winner]]:
        return _grouped(self.winners, lambda winner: winner.kernels)

    @cached_property
    def _own_of(self) -> dict[tuple[Location, str, str], Winner]:
        return {(own.database, own.problem_id, own.target): own for own in self.own}

    def own_of(self, winner: Winner) -> Winner | None:
        """Our own best variant of the problem that a provider has won; None for other winners."""
        return self._own_of.get((winner.database, winner.problem_id, winner.target))

    def candidates(
        self, problem_id: str, facts: Mapping[str, Any], target: Target
    ) -> Iterator[tuple[Winner, str]]:
        """Yield the winners that may serve a problem on a target, the best fit first.

        A winner that is a provider is followed by our own best variant of its problem, which fits
        as well. ``_ranked`` has the order of the others.

        Yields:
            Pairs of a winner and how it fits, one of ``HOW``.
        """
        for winner, how in self._ranked(problem_id, facts, target):
            yield winner, how
            own = self.own_of(winner)
            if own is not None:
                yield own, how

    def _ranked(
        self, problem_id: str, facts: Mapping[str, Any], target: Target
    ) -> Iterator[tuple[Winner, str]]:
        """Yield the winners that may serve a problem on a target, the best fit first.

        Those of the bucket itself come without a look at the others, of which there may be many.

        The order is: the same bucket on this target, the nearest buckets on it, measured winners of
        other targets of the same architecture, then of kindred architectures, predictions. In a
        tie the database read first wins, and within it the first by name of problem and target.
        """
        same = self._fits(self._by_problem.get(problem_id, ()), problem_id, facts, target)
        exact = [pair for pair in same if pair[1] == HOW[0]]
        yield from exact
        kernels = shared_facts(facts)
        others = self._by_kernels.get(kernels, [])
        if any(winner.kernels != kernels for winner, _ in same):
            # facts of another version may disagree with today's of the same bucket
            others = list({id(w): w for w in (*self._by_problem[problem_id], *others)}.values())
        seen = {id(winner) for winner, _ in exact}
        left = [winner for winner in others if id(winner) not in seen]
        yield from self._fits(left, problem_id, facts, target)

    def _fits(
        self,
        winners: Iterable[Winner],
        problem_id: str,
        facts: Mapping[str, Any],
        target: Target,
    ) -> list[tuple[Winner, str]]:
        return _fits(winners, problem_id, facts, target, self._database_order)


def _grouped(winners: Iterable[Winner], key: Callable[[Winner], Key]) -> dict[Key, list[Winner]]:
    groups: dict[Key, list[Winner]] = {}
    for winner in winners:
        groups.setdefault(key(winner), []).append(winner)
    return groups


def _fits(
    winners: Iterable[Winner],
    problem_id: str,
    facts: Mapping[str, Any],
    target: Target,
    database_order: Mapping[Location, int],
) -> list[tuple[Winner, str]]:
    """The winners that fit, each with how it does, the best fit first.

    Winners are sorted by how they fit, whether they are of another target, their distance, and
    whether they are stored under another name of the target; then by database and by name.
    """
    kernels, place = shared_facts(facts), Place.of(facts)
    near: dict[tuple[str, str], tuple[str, bool] | None] = {}
    fits = []
    for winner in winners:
        device = winner.target, winner.arch
        if device not in near:
            near[device] = _nearness(*device, target)
        nearness = near[device]
        if nearness is None:
            continue
        how, other_target = nearness
        exact = winner.problem_id == problem_id
        if not exact and winner.kernels != kernels:
            continue
        if winner.provenance == "predicted":
            if how == "kindred arch":
                continue
            how = "predicted"
        elif how == "nearest" and exact:
            how = "exact"
        apart = 0.0 if exact else winner.place.distance(place)
        # not by the order of rows, which differs between copies of a database
        order = (
            HOW.index(how), other_target, apart, winner.target != target.name,
            database_order[winner.database], winner.problem_id, winner.target,
        )  # fmt: skip
        fits.append((order, winner, how))
    return [(winner, how) for _, winner, how in sorted(fits, key=lambda fit: fit[0])]


def _nearness(name: str, arch: str, target: Target) -> tuple[str, bool] | None:
    """How a measured winner of a target fits, and whether that is another target than this one."""
    if same_device(name, target):
        return "nearest", False
    if arch == target.arch:
        return "same arch", True
    return ("kindred arch", True) if kindred(arch, target.arch) else None
