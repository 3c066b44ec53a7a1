"""``gdn show``: lists the stored winners."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gdn_ops.codegen.errors import UnknownName
from gdn_ops.codegen.targets import TARGETS, cpu_target
from gdn_ops.dispatch import this_machine
from gdn_ops.dispatch.winner import Winner
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.exit_codes import exit_code_of
from gdn_ops.tuner.cli.json_fields import of_winner
from gdn_ops.tuner.cli.locations import METAVAR, SERVER, database_given
from gdn_ops.tuner.cli.numbers import not_negative

if TYPE_CHECKING:
    from gdn_ops.results_url import Location

LEAST_WIDTH = 160
"""Columns of a terminal in which the table of winners can be read."""


def show(
    target: Annotated[str | None, typer.Option(help="Only this target, e.g. h200.")] = None,
    db: Annotated[
        str | None,
        typer.Option(
            metavar=METAVAR,
            help=f"Only this database; by default your own and the shipped one. {SERVER}",
        ),
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only the stale winners, each with what has changed.")
    ] = False,
    problem: Annotated[
        str | None, typer.Option(help="Only problems with this text in their name, e.g. decode.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Most rows to print; 0: all.")] = 100,
) -> Answer:
    """List the stored winners.

    A winner is the fastest correct variant for a problem on a target (a GPU model or a kind of
    CPU). The table has its median time with the 95 % confidence interval, whether it was measured
    or predicted, its row in the database, and the device. The speed-up is over the reference, the
    chunkwise form of the rule in plain PyTorch, timed in the same run. A stale winner was measured
    before its kernels' code, Triton, ptxas, PyTorch or the driver changed; `gdn tune --stale`
    measures it again. The time of a doubtful one varies by more than a factor of 2, or other
    processes used more than half of its cores while it was measured.
    The predictions that ship with gdn-ops are listed only if --target names their GPU.

    Examples:

        gdn show

        gdn show --target h200

        gdn show --stale

        gdn show --problem K128-V128 --limit 0
    """
    from gdn_ops.dispatch.winner_proofs import read_proofs
    from gdn_ops.results_path import databases
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.store.winner_tables import exists, load_winners, read_winners

    given = database_given(db)
    if given is not None:
        if not exists(given):
            raise_missing(given)
        table = read_winners(given)
    else:
        table = load_winners()
    limit = int(not_negative("--limit", limit))
    winners = [
        w
        for w in table.winners
        if ((target is None and not w.ships_unmeasured) or target == w.target)
        and (problem or "") in w.problem_id
    ]
    hidden = {w.target for w in table.winners if w.ships_unmeasured and target is None}
    for fault in table.faults:
        console.fail(str(fault))
    code = max(map(exit_code_of, table.faults), default=0)

    def results() -> dict[str, Any]:
        read_proofs(winners)
        return {
            "winners": [of_winner(w) for w in winners],
            "skipped": [asdict(skipped) for skipped in table.skipped],
            "faults": [str(fault) for fault in table.faults],
        }

    if target is not None and not any(w.target == target for w in table.winners):
        _check_target(target, {w.target for w in table.winners})
    if not winners:
        where = ", ".join(str(path) for path in ([given] if given else databases()))
        on = f" for target {target}" if target else ""
        of = f" of problems with {problem!r} in their name" if problem else ""
        console.say(f"no winners{on}{of} in {where}; run `gdn tune` to find some.")
        _say_hidden(hidden)
        return Answer(code, results)
    if stale:
        read_proofs(winners)
        found = [{**of_winner(w), "stale": why} for w, why in _show_stale(winners)]
        return Answer(code, {**results(), "winners": found})
    columns = (
        "problem", "target", "winner", "median>", "95 % interval>", "speed-up>", "from", "row>",
        "device",
    )  # fmt: skip
    databases_read = list(dict.fromkeys(w.database for w in winners))
    winners.sort(key=lambda w: (databases_read.index(w.database), w.target, in_order(w.problem_id)))
    shown = winners[: limit or None]
    read_proofs(shown)
    rows = [_row(w) for w in shown]
    columns_here = console.width()
    if columns_here is not None and columns_here < LEAST_WIDTH:
        for row in rows:
            console.say(_stacked(row))
    else:
        console.table(columns, rows)
    if len(shown) < len(winners):
        console.say(
            f"the first {len(shown)} of {len(winners)} winners; --target and --problem choose "
            "among them, --limit 0 prints all."
        )
    for path in databases_read:
        console.say(f"read from {path}")
    _say_hidden(hidden)
    for skipped in table.skipped:
        console.say(f"skipped {skipped.problem_id}: {skipped.reason}")
    return Answer(code, results)


@cache
def in_order(problem_id: str) -> tuple[str | int, ...]:
    """A sort key of problem ids, in which 512 tokens come before 2048."""
    parts = re.split(r"(\d+)", problem_id)
    # every other part is a number, so that no number is compared with a text
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts))


def _show_stale(winners: list[Winner]) -> list[tuple[Winner, str]]:
    """List the stale ones of some winners with the reasons, and return them."""
    from gdn_ops.seconds import seconds_text
    from gdn_ops.toolchain import driver_version
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.report.counted import counted
    from gdn_ops.tuner.search.retiming import why_stale

    here = _targets_here()
    found = [
        (w, why)
        for w in winners
        if (why := why_stale(w, driver_version() if w.target in here else None))
    ]
    rows = [(w.problem_id, w.target, w.named, seconds_text(w.median), why) for w, why in found]
    if rows:
        console.table(("problem", "target", "winner", "median>", "why it is stale"), rows)
        console.say("`gdn tune --stale` on their device measures them again.")
    else:
        console.say(f"None of {counted(len(winners), 'winner')} is stale.")
    return found


def _targets_here() -> set[str]:
    """The names of this machine's devices."""
    cpu = cpu_target(this_machine.cpu_arch()).name
    if not this_machine.has_gpu():
        return {cpu}
    import torch

    from gdn_ops.dispatch.device import target_of

    gpus = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    return {cpu, *(target_of(device).name for device in gpus)}


def _say_hidden(targets: set[str]) -> None:
    """Say which shipped predictions are not listed."""
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.report.counted import counted

    if targets:
        console.say(
            f"not listed: the shipped predictions for {counted(len(targets), 'GPU')}; "
            f"`gdn show --target {min(targets)}` lists those of one"
        )


def _check_target(name: str, stored: set[str]) -> None:
    """Refuse a target that is neither known, nor stored, nor a device of this machine."""
    if name in TARGETS:
        return
    here = _targets_here()
    if name not in here:
        raise UnknownName.of("target", name, {*TARGETS, *stored, *here})


def raise_missing(path: Location) -> None:
    """Raise ResultsError for a database that was named and does not exist."""
    from gdn_ops.codegen.errors import ResultsError

    raise ResultsError(
        f"there is no results database at {path}; `gdn tune --db {path}` creates one."
    )


def _row(winner: Winner) -> tuple[str, ...]:
    from gdn_ops.seconds import seconds_text

    measured = winner.provenance == "measured"
    return (
        winner.problem_id,
        winner.target,
        winner.named,
        seconds_text(winner.median),
        f"{seconds_text(winner.low)} .. {seconds_text(winner.high)}" if measured else "-",
        "-" if winner.speedup is None else f"{winner.speedup:.2f}x",
        winner.provenance
        + (", stale" if winner.stale else "")
        + (", doubtful" if winner.doubtful else ""),
        str(winner.trial_id or "-"),
        winner.device or "-",
    )


def _stacked(row: tuple[str, ...]) -> str:
    """A row in three lines, for a terminal in which it would be folded into many."""
    problem, target, variant, median, interval, speed, provenance, trial, device = row
    facts = [
        median,
        interval if interval == "-" else f"[{interval}]",
        speed if speed == "-" else f"{speed} the reference's speed",
        provenance,
        trial if trial == "-" else f"row {trial}",
        device,
    ]
    told = ", ".join(fact for fact in facts if fact != "-")
    return f"{problem} on {target}\n    {variant}\n    {told}"
