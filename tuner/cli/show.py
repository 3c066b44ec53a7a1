"""``gdn show``: lists the stored winners."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from gdn_ops.codegen.errors import GdnError, UnknownName
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.dispatch.winners import Winner, WinnerTable
from gdn_ops.tuner.cli.numbers import not_negative


def show(
    target: Annotated[str | None, typer.Option(help="Only this target, e.g. h200.")] = None,
    db: Annotated[
        Path | None,
        typer.Option(help="Only this database; by default your own and the shipped one."),
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only the stale winners, each with what has changed.")
    ] = False,
    problem: Annotated[
        str | None, typer.Option(help="Only problems with this text in their name, e.g. decode.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Most rows to print; 0: all.")] = 100,
) -> int:
    """List the stored winners.

    A winner is the fastest correct variant for a problem on a target (a GPU model or a kind of
    CPU). The table has its median time with the 95 % confidence interval, whether it was measured
    or predicted, its row in the database, and the device. The speed-up is over the reference, the
    chunkwise form of the rule in plain PyTorch, timed in the same run. A stale winner was measured
    before its kernels' code, Triton, ptxas, PyTorch or the driver changed; `gdn tune --stale`
    measures it again. The time of a doubtful one varies by more than a factor of 2.

    Examples:

        gdn show

        gdn show --target h200

        gdn show --stale

        gdn show --problem K128-V128 --limit 0
    """
    from gdn_ops.dispatch.results_file import COMMAND_SECONDS, exists
    from gdn_ops.dispatch.winners import load_winners, read_sources, read_winners
    from gdn_ops.results_path import databases, expanded
    from gdn_ops.tuner.report import console

    if db is not None:
        db = expanded(db, "--db")
        if not exists(db):
            raise_missing(db)
        table = read_winners(db, seconds=COMMAND_SECONDS)
    else:
        table = load_winners(seconds=COMMAND_SECONDS)
    limit = int(not_negative("--limit", limit))
    winners = [
        w for w in table.winners
        if target in (None, w.target) and (problem or "") in w.problem_id
    ]  # fmt: skip
    for fault in table.faults:
        console.fail(str(fault))
    if target is not None and not any(w.target == target for w in table.winners):
        _check_target(target, {w.target for w in table.winners})
    if not winners:
        where = ", ".join(str(path) for path in ([db] if db else databases()))
        on = f" for target {target}" if target else ""
        of = f" of problems with {problem!r} in their name" if problem else ""
        console.say(f"no winners{on}{of} in {where}; run `gdn tune` to find some.")
        return 1 if table.faults else 0
    if stale:
        read_sources(winners)
        return _show_stale(winners, table)
    columns = (
        "problem", "target", "winner", "median>", "95 % interval>", "speed-up>", "from", "row>",
        "device",
    )  # fmt: skip
    databases_read = list(dict.fromkeys(w.database for w in winners))
    winners.sort(key=lambda w: (databases_read.index(w.database), w.target, in_order(w.problem_id)))
    shown = winners[: limit or None]
    read_sources(shown)
    console.table(columns, [_row(w) for w in shown])
    if len(shown) < len(winners):
        console.say(
            f"the first {len(shown)} of {len(winners)} winners; --target and --problem choose "
            "among them, --limit 0 prints all."
        )
    for path in databases_read:
        console.say(f"read from {path}")
    for skipped in table.skipped:
        console.say(f"skipped {skipped.problem_id}: {skipped.reason}")
    return 1 if table.faults else 0


def in_order(problem_id: str) -> tuple[str | int, ...]:
    """A sort key of problem ids, in which 512 tokens come before 2048."""
    parts = re.split(r"(\d+)", problem_id)
    # every other part is a number, so that no number is compared with a text
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts))


def _show_stale(winners: list[Winner], table: WinnerTable) -> int:
    """List the stale ones of some winners with the reasons."""
    from gdn_ops.seconds import seconds_text
    from gdn_ops.toolchain import driver_version
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.report.counted import counted
    from gdn_ops.tuner.search.retiming import why_stale

    here = _targets_here()
    found = [(w, why_stale(w, driver_version() if w.target in here else None)) for w in winners]
    rows = [
        (w.problem_id, w.target, _variant_text(w), seconds_text(w.median), why)
        for w, why in found
        if why
    ]
    if rows:
        console.table(("problem", "target", "winner", "median>", "why it is stale"), rows)
        console.say("`gdn tune --stale` on their device measures them again.")
    else:
        console.say(f"None of {counted(len(winners), 'winner')} is stale.")
    return 1 if table.faults else 0


def _targets_here() -> set[str]:
    """The names of this machine's devices."""
    import torch

    from gdn_ops.dispatch.device import target_of

    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    return {target_of(device).name for device in devices}


def _check_target(name: str, stored: set[str]) -> None:
    """Refuse a target that is neither known, nor stored, nor a device of this machine."""
    if name in TARGETS:
        return
    here = _targets_here()
    if name not in here:
        raise UnknownName.of("target", name, {*TARGETS, *stored, *here})


def raise_missing(path: Path) -> None:
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
        _variant_text(winner),
        seconds_text(winner.median),
        f"{seconds_text(winner.low)} .. {seconds_text(winner.high)}" if measured else "-",
        "-" if winner.speedup is None else f"{winner.speedup:.2f}x",
        winner.provenance
        + (", stale" if winner.stale else "")
        + (", doubtful" if winner.doubtful else ""),
        str(winner.trial_id or "-"),
        winner.device or "-",
    )


def _variant_text(winner: Winner) -> str:
    from gdn_ops.codegen.problem import Problem
    from gdn_ops.codegen.variant import Variant

    try:
        return str(Variant.from_json(winner.variant, Problem.from_facts(winner.facts)))
    except (GdnError, KeyError, TypeError) as error:
        return f"unusable: {error}"
