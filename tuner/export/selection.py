"""Selecting what is exported: winners of results databases, checked, with their proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from difflib import get_close_matches

from gdn_ops.codegen.errors import GdnError, InvalidInput, ResultsError, UnknownName
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, measured_target
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.results_path import databases as database_paths
from gdn_ops.results_url import Location
from gdn_ops.toolchain import ptxas_version, triton_version
from gdn_ops.tuner.export.description import Denied, Description, ExportedWinner
from gdn_ops.tuner.report.counted import counted
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.models import FAILED, TrialRow, utc_now
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.store.usable import usable
from gdn_ops.tuner.store.winner_tables import exists, load_winners

LISTED = 3
"""Targets that a message describes, at most."""


def described(
    databases: Iterable[Location] | None = None,
    *,
    targets: Sequence[str] = (),
    problems: Iterable[Problem] | None = None,
    asked: str = "",
) -> list[Description]:
    """Describe what is exported, one description per target, ordered by its name.

    Args:
        databases: the results databases; None: the user's own and the shipped one. If two have a
            winner of a problem on a target, that of the first is taken.
        targets: names of targets; empty: every target with winners of the problems. The predictions
            that ship with gdn-ops are exported for a target that is named and has no other winners.
        problems: buckets to export; None: all with winners.
        asked: what chose the problems, as a user types it after ``gdn tune``.

    Raises:
        InvalidInput: a target has no winner to export.
        UnknownName: a target is neither known nor has winners.
        ResultsError: a database cannot be read.
    """
    given = database_paths() if databases is None else databases
    paths = tuple(path for path in given if exists(path))
    table = load_winners(paths)
    if table.faults:
        raise table.faults[0]
    table = _asked_for(table, targets)
    wanted = None if problems is None else frozenset(problem.id() for problem in problems)
    names = set(targets) or {w.target for w in table.winners if _among(w, wanted)}
    if not names:
        raise _none(table, wanted is not None, asked)
    with ExitStack() as stack:
        stores = _Stores(stack)
        found = [_description(name, table, wanted, asked, stores) for name in sorted(names)]
    return [replace(one, databases=paths, wanted=wanted) for one in found]


def _asked_for(table: WinnerTable, targets: Collection[str]) -> WinnerTable:
    """The winners without the predictions that ship and that nobody asks for."""
    own = [w for w in table.winners if not w.ships_unmeasured]
    others = set(targets) - {w.target for w in own}
    shipped = [w for w in table.winners if w.ships_unmeasured and w.target in others]
    return replace(table, winners=(*own, *shipped))


def _among(winner: Winner, wanted: frozenset[str] | None) -> bool:
    return wanted is None or winner.problem_id in wanted


class _Stores:
    """The open results databases by path."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: dict[Location, Store] = {}
        self.notes: list[str] = []
        """What reading said of malformed rows, the newest last."""

    def __getitem__(self, location: Location) -> Store:
        if location not in self._open:
            database = open_database(location, create=False, writable=False)
            opened = self._stack.enter_context(database)
            self._open[location] = Store(opened, warn=self.notes.append)
        return self._open[location]


def _description(
    name: str, table: WinnerTable, wanted: frozenset[str] | None, asked: str, stores: _Stores
) -> Description:
    mine: dict[str, list[Winner]] = {}
    for winner in table.winners:
        if winner.target == name and _among(winner, wanted):
            of_problem = mine.setdefault(winner.problem_id, [])
            of_problem += filter(None, (winner, table.own_of(winner)))
    found: list[ExportedWinner] = []
    left_out: list[str] = []
    for problem_id, winners in sorted(mine.items()):
        try:
            found.append(_exported(winners, stores))
        except (GdnError, KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
            left_out.append(f"the winner of {problem_id:.200} on {name} is left out: {text:.500}.")
    if not found:
        raise _nothing(name, table, left_out, wanted is not None, asked)
    left_out += _skipped(table)
    denied = _denied(found, name, stores)
    target = _target(found[0].winner)
    return Description(target=target, winners=tuple(found), denied=denied, left_out=tuple(left_out))


def _exported(winners: Sequence[Winner], stores: _Stores) -> ExportedWinner:
    """The first of a problem's winners; if an installed library won, the first that is ours."""
    first = winners[0]
    ours = next((w for w in winners if w.variant.get("plan") not in PROVIDERS), first)
    instead_of = "" if ours is first else first.named.partition(" #")[0]  # without the short id
    return replace(_checked(ours, stores), instead_of=instead_of)


def _checked(winner: Winner, stores: _Stores) -> ExportedWinner:
    """A winner whose rows agree, whose stages render, and which its target can run."""
    store = stores[winner.database]
    stored = store.winner(winner.problem_id, winner.target, trial_id=winner.trial_id)
    if stored is None:
        raise InvalidInput(stores.notes[-1] if stores.notes else "its row is gone")
    with store.database.read() as session:
        row = None if winner.trial_id is None else session.get(TrialRow, winner.trial_id)
        usable(stored, winner.facts, row, utc_now())
    problem = Problem.from_facts(winner.facts)
    variant = Variant.from_json(winner.variant, problem)
    if variant.provider:
        raise InvalidInput(
            f"it is the provider {variant}, of which an export has no part, and none of our own "
            "variants is stored; `gdn tune --again` without --allow-providers stores the fastest"
        )
    reasons = variant.reasons(problem, _target(winner))
    if reasons:
        raise InvalidInput("; ".join(reasons))
    sources = source_hashes(problem, variant)
    if winner.trial_id is None:
        return ExportedWinner(winner=winner, problem=problem, variant=variant, sources=sources)
    trial = store.trial(winner.trial_id)
    environment = store.environment(trial.environment_id)
    return ExportedWinner(
        winner=winner, problem=problem, variant=variant, sources=sources, trial=trial,
        environment=environment,
        ptxas=environment.ptxas or installed_ptxas(winner.arch, environment.triton),
    )  # fmt: skip


def _target(winner: Winner) -> Target:
    if winner.target in TARGETS:
        return TARGETS[winner.target]
    arch, device = winner.arch, winner.device or winner.target
    if arch.startswith(("sm_", "gfx")):
        vendor = "amd" if arch.startswith("gfx") else "nvidia"
        return replace(measured_target(device, vendor, arch, sms=0), name=winner.target)
    return replace(TARGETS["cpu"], name=winner.target, arch=arch, device=device, sms=0)


def installed_ptxas(arch: str, triton: str | None) -> str | None:
    """The version of ptxas in a version of Triton, if that one is installed."""
    return ptxas_version(arch) if triton is not None and triton == triton_version() else None


def _denied(winners: Sequence[ExportedWinner], target: str, stores: _Stores) -> tuple[Denied, ...]:
    found: dict[tuple[str, int], Denied] = {}
    for exported in winners:
        store = stores[exported.winner.database]
        for trial in store.trials(target=target, problem_id=exported.winner.problem_id):
            if trial.key.plan not in PLANS:
                continue  # an export has no part of a library
            key = (trial.key.config_hash, trial.environment_id)
            found.pop(key, None)  # a newer trial of the same config decides
            if trial.outcome.status in FAILED:
                environment = store.environment(trial.environment_id)
                found[key] = Denied(trial=trial, environment=environment)
    return tuple(sorted(found.values(), key=lambda denied: denied.trial.id))


def _none(table: WinnerTable, some: bool, asked: str) -> InvalidInput:
    """The error if no target has a winner to export.

    Args:
        some: whether only winners of some problems are exported.
        asked: what chose these.
    """
    tune, predict = _command("tune", asked), _command("predict", asked, "--store")
    remedy = f"run {tune} on the device, or {predict} for a GPU."
    if not some:
        return InvalidInput(f"there are no winners to export; {remedy}")
    targets = sorted({winner.target for winner in table.winners})
    others = "".join(f" {_others(name, table)}" for name in targets[:LISTED])
    return InvalidInput(f"there are no winners of {_problems(asked)}; {remedy}{others}")


def _command(name: str, *words: str) -> str:
    return f"`{' '.join(filter(None, ['gdn', name, *words]))}`"


def _problems(asked: str) -> str:
    return f"the problems of {asked}" if asked else "these problems"


def _others(name: str, table: WinnerTable) -> str:
    """Which problems a target has winners of, in short; empty if it has none."""
    mine = {w.problem_id: str(w.facts.get("op")) for w in table.winners if w.target == name}
    if not mine:
        return ""
    ops = ", ".join(f"{op:.20} {n}" for op, n in sorted(Counter(mine.values()).items()))
    return (
        f"{name:.80} has {counted(len(mine), 'winner')} of other problems ({ops}); "
        f"`gdn show --target {name:.80}` lists them."
    )


def _nothing(
    name: str, table: WinnerTable, left_out: list[str], some: bool, asked: str
) -> GdnError:
    """The error for a target without a winner to export; ``some`` as for ``_none``."""
    stored = {winner.target: winner.arch for winner in table.winners}
    if name not in TARGETS and name not in stored:
        return UnknownName.of("target", name, {*TARGETS, *stored})
    if left_out:
        return ResultsError(
            f"no winner for target {name} can be exported; the first one: {left_out[0]} "
            f"Run {_command('tune', asked)} again."
        )
    of_problems = f" of {_problems(asked)}" if some else ""
    others = f" {_others(name, table)}".rstrip() if some else ""
    near = _nearest(name, {t: arch for t, arch in stored.items() if t != name})
    nearest = f" The nearest target with winners is {near}." if near and not others else ""
    skipped = "".join(f" Note: {sentence}" for sentence in _skipped(table)[:1])
    predict = ""
    if name in TARGETS and TARGETS[name].gpu:
        command = _command("predict", asked, f"--target {name}", "--store")
        predict = f", or {command} on any machine"
    return InvalidInput(
        f"there are no winners{of_problems} for target {name}.{others}{nearest} Run "
        f"{_command('tune', asked)} on {name}{predict}.{skipped}"
    )


def _skipped(table: WinnerTable) -> list[str]:
    return [
        f"a row of {row.problem_id:.200} in {row.database.name} cannot be read: {row.reason}"
        for row in table.skipped
    ]


def _nearest(name: str, stored: dict[str, str]) -> str | None:
    """The stored target that is most like another one: by architecture, vendor and name."""
    if not stored:
        return None
    arch = TARGETS[name].arch if name in TARGETS else ""
    alike = [t for t, of in stored.items() if of == arch] or [
        t for t, of in stored.items() if of.rstrip("0123456789") == arch.rstrip("0123456789")
    ]
    choice = sorted(alike or stored)
    return next(iter(get_close_matches(name, choice, n=1, cutoff=0.0)), choice[0])
