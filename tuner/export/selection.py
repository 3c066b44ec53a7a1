"""Selecting what is exported: winners of results databases, checked, with their proof."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from gdn_ops.codegen.errors import GdnError, InvalidInput, ResultsError, UnknownName
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS, measured_target
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.results_file import COMMAND_SECONDS, exists
from gdn_ops.dispatch.winners import Winner, WinnerTable, load_winners
from gdn_ops.results_path import databases as database_paths
from gdn_ops.toolchain import ptxas_version, triton_version
from gdn_ops.tuner.export.description import Denied, Description, ExportedWinner
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.models import TrialRow, utc_now
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.store.usable import usable

FAILED = ("compile-error", "spill", "wrong", "nondeterministic", "oom", "timeout", "crash")
"""Statuses of trials that put a config on the deny list."""


def described(
    databases: Iterable[Path] | None = None,
    *,
    targets: Sequence[str] = (),
    problems: Iterable[Problem] | None = None,
) -> list[Description]:
    """Describe what is exported, one description per target, ordered by its name.

    Args:
        databases: the results databases; None: the user's own and the shipped one. If two have a
            winner of a problem on a target, that of the first is taken.
        targets: names of targets; empty: every target with winners of the problems.
        problems: buckets to export; None: all with winners.

    Raises:
        InvalidInput: a target has no winner to export.
        UnknownName: a target is neither known nor has winners.
        ResultsError: a database cannot be read.
    """
    given = database_paths() if databases is None else databases
    paths = tuple(path for path in given if exists(path))
    table = load_winners(paths, seconds=COMMAND_SECONDS)
    if table.faults:
        raise table.faults[0]
    wanted = None if problems is None else frozenset(problem.id() for problem in problems)
    names = set(targets) or {w.target for w in table.winners if _among(w, wanted)}
    if not names:
        what = "no winners to export" if wanted is None else "no winners of these problems"
        raise InvalidInput(
            f"there are {what}; run `gdn tune` on the device, or `gdn predict --store` for a GPU."
        )
    with ExitStack() as stack:
        stores = _Stores(stack)
        found = [_description(name, table, wanted, stores) for name in sorted(names)]
    return [replace(one, databases=paths, wanted=wanted) for one in found]


def _among(winner: Winner, wanted: frozenset[str] | None) -> bool:
    return wanted is None or winner.problem_id in wanted


class _Stores:
    """The open results databases by path."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._open: dict[Path, Store] = {}
        self.notes: list[str] = []
        """What reading said of malformed rows, the newest last."""

    def __getitem__(self, path: Path) -> Store:
        if path not in self._open:
            database = open_database(path, create=False, writable=False)
            opened = self._stack.enter_context(database)
            self._open[path] = Store(opened, warn=self.notes.append)
        return self._open[path]


def _description(
    name: str, table: WinnerTable, wanted: frozenset[str] | None, stores: _Stores
) -> Description:
    mine: dict[str, Winner] = {}
    for winner in table.winners:
        if winner.target == name and _among(winner, wanted):
            mine.setdefault(winner.problem_id, winner)
    found: list[ExportedWinner] = []
    left_out: list[str] = []
    for problem_id, winner in sorted(mine.items()):
        try:
            found.append(_checked(winner, stores))
        except (GdnError, KeyError, TypeError, ValueError, AttributeError) as error:
            text = f"it has no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
            left_out.append(f"the winner of {problem_id:.200} on {name} is left out: {text:.500}.")
    if not found:
        raise _nothing(name, table, left_out, some=wanted is not None)
    left_out += _skipped(table)
    denied = _denied(found, name, stores)
    target = _target(found[0].winner)
    return Description(target=target, winners=tuple(found), denied=denied, left_out=tuple(left_out))


def _checked(winner: Winner, stores: _Stores) -> ExportedWinner:
    """A winner whose rows agree, whose stages render, and which its target can run."""
    store = stores[winner.database]
    stored = store.winner(winner.problem_id, winner.target)
    if stored is None:
        raise InvalidInput(stores.notes[-1] if stores.notes else "its row is gone")
    with store.database.read() as session:
        row = None if winner.trial_id is None else session.get(TrialRow, winner.trial_id)
        usable(stored, winner.facts, row, utc_now())
    problem = Problem.from_facts(winner.facts)
    variant = Variant.from_json(winner.variant, problem)
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
            key = (trial.key.config_hash, trial.environment_id)
            found.pop(key, None)  # a newer trial of the same config decides
            if trial.outcome.status in FAILED:
                environment = store.environment(trial.environment_id)
                found[key] = Denied(trial=trial, environment=environment)
    return tuple(sorted(found.values(), key=lambda denied: denied.trial.id))


def _nothing(name: str, table: WinnerTable, left_out: list[str], *, some: bool) -> GdnError:
    """The error for a target without a winner to export."""
    stored = {winner.target: winner.arch for winner in table.winners}
    if name not in TARGETS and name not in stored:
        return UnknownName.of("target", name, {*TARGETS, *stored})
    if left_out:
        return ResultsError(
            f"no winner for target {name} can be exported; the first one: {left_out[0]} "
            "Run `gdn tune` again."
        )
    of_problems = " of these problems" if some else ""
    near = _nearest(name, {t: arch for t, arch in stored.items() if t != name})
    nearest = f" The nearest target with winners is {near}." if near else ""
    skipped = "".join(f" Note: {sentence}" for sentence in _skipped(table)[:1])
    predict = ""
    if name in TARGETS and TARGETS[name].gpu:
        predict = f", or `gdn predict --target {name} --store` on any machine"
    return InvalidInput(
        f"there are no winners{of_problems} for target {name}.{nearest} Run `gdn tune` on "
        f"{name}{predict}.{skipped}"
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
