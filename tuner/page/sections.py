"""What the page says of each problem, as its template reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from gdn_ops.dispatch.winner import Winner
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.page import figures
from gdn_ops.tuner.page.figures import Figure
from gdn_ops.tuner.page.importance import LEAST_CONFIGS, importance
from gdn_ops.tuner.page.progress import progress
from gdn_ops.tuner.page.searches import Search, Stored
from gdn_ops.tuner.report.counted import counted

Place = Callable[[Figure], int]
"""Adds a figure to the page and returns its number."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure of the page: its number, its title and a sentence below it.

    ``rows`` is the number of bars if it has horizontal ones, by which its height follows.
    """

    number: int
    title: str
    caption: str = ""
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class SearchPart:
    """One search: its plots, and what stands in place of one that cannot be drawn."""

    name: str
    summary: str
    plots: tuple[Plot, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """One problem on one target in one environment."""

    anchor: str
    problem_id: str
    target: str
    environment: int
    facts: str
    summary: str
    winner: str
    plots: tuple[Plot, ...]
    parts: tuple[SearchPart, ...]


@dataclass
class Environments:
    """The environments of the page, numbered from 1 in the order in which they are named."""

    known: list[Environment] = field(default_factory=list)

    def number(self, environment: Environment) -> int:
        if environment not in self.known:
            self.known.append(environment)
        return self.known.index(environment) + 1


def sections(stored: Stored, place: Place, environments: Environments) -> list[Section]:
    """A section per problem, target and environment that has trials."""
    winners = {(w.problem_id, w.target): w for w in stored.winners}
    groups = groupby(stored.searches, key=lambda s: (s.problem_id, s.target, s.environment.hash))
    found = []
    for number, ((problem_id, target, _), group) in enumerate(groups, start=1):
        searches = list(group)
        found.append(
            _section(
                f"problem-{number}", searches, winners.get((problem_id, target)),
                stored.facts.get(problem_id, {}), place, environments,
            )
        )  # fmt: skip
    return found


def _section(
    anchor: str,
    searches: Sequence[Search],
    winner: Winner | None,
    facts: Mapping[str, object],
    place: Place,
    environments: Environments,
) -> Section:
    first = searches[0]
    whole = [s for s in searches if s.whole and s.best is not None]
    own = winner is not None and winner.variant_id in {
        attempt.variant_id for search in whole for attempt in search.attempts
    }
    reference = winner.reference if winner is not None and own else None
    plots = []
    if len(whole) > 1:
        plots.append(
            Plot(
                number=place(progress(whole, reference=reference)),
                title="Whole variants by plan",
                caption="The best time so far of each plan, with its 95 % interval.",
            )
        )
    trials = sum(len(search.attempts) for search in searches)
    failed = sum(search.failed for search in searches)
    return Section(
        anchor=anchor, problem_id=first.problem_id, target=first.target,
        environment=environments.number(first.environment), facts=_facts(facts),
        summary=f"{counted(trials, 'trial')}, {failed} failed",
        winner="" if winner is None or not own else _winner_text(winner),
        plots=tuple(plots),
        parts=tuple(
            _part(search, place, None if len(whole) > 1 else reference)
            for search in searches
            if search.stage is not None or len(whole) <= 1
        ),
    )  # fmt: skip


def _part(search: Search, place: Place, reference: float | None) -> SearchPart:
    name, best = search.name, search.best
    configs = {repr(sorted(a.parameters.items())) for a in search.attempts}
    summary = f"{counted(len(search.attempts), 'trial')} of {counted(len(configs), 'config')}"
    if best is None:
        return SearchPart(name=name, summary=summary, plots=(), notes=("No trial has a time.",))
    config = " ".join(f"{k}={v}" for k, v in best.parameters.items())
    summary += f"; best {seconds_text(best.seconds)} with {config or 'the defaults'}"
    line = place(progress([search], reference=reference if search.whole else None))
    plots = [Plot(number=line, title="Best time so far")]
    notes = []
    found = importance(search.attempts)
    if found is None:
        notes.append(
            f"No importance of parameters: fewer than {LEAST_CONFIGS} configs were timed, or their "
            "times do not differ."
        )
        varied = [
            k for k in best.parameters if len({a.parameters.get(k) for a in search.attempts}) > 1
        ]
    else:
        varied = list(found.shares)
        plots.append(
            Plot(
                number=place(figures.importances(found)), title="Importance of parameters",
                caption=f"Share of the variance of log time over {found.configs} configs.",
                rows=min(8, len(varied)) + 1,
            )
        )  # fmt: skip
    if len(varied) > 1:
        figure = figures.heat_map(search.attempts, varied[0], varied[1])
        unit = figure["layout"].pop("note")
        plots.append(
            Plot(
                number=place(figure), title=f"{varied[1]} by {varied[0]}",
                caption=f"Best time in {unit} over all other parameters.",
            )
        )  # fmt: skip
    return SearchPart(name=name, summary=summary, plots=tuple(plots), notes=tuple(notes))


def failure_rows(searches: Iterable[Search]) -> list[tuple[str, str, str, int]]:
    """Plan and stage, status and message of failed trials, and how often; the most first."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for search in searches:
        for attempt in search.attempts:
            if attempt.status != "ok":
                counts[search.name, attempt.status, attempt.message.strip().partition("\n")[0]] += 1
    return [(*cause, count) for cause, count in counts.most_common(40)]


def _facts(facts: Mapping[str, object]) -> str:
    words = [f"{name}={value}" for name, value in facts.items() if value not in (False, None)]
    return ", ".join(words)


def _winner_text(winner: Winner) -> str:
    text = f"{winner.named}: {seconds_text(winner.median)}"
    if winner.speedup is not None:
        text += f", {winner.speedup:.2f} times as fast as the reference"
    return text
