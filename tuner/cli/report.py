"""``gdn report``: writes what was tuned as a page to look at, or as studies of Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.locations import METAVAR, SERVER, database_given
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.shared_options import with_options

if TYPE_CHECKING:
    from gdn_ops.results_url import Location
    from gdn_ops.tuner.page.searches import Stored

PAGE = Path("report.html")


@with_options(model=ModelOptions)
def report(
    workload: Annotated[
        str | None,
        typer.Argument(
            help="Only the problems of a workload as for `gdn tune`, or of a JSON or TOML file of "
            "problems; by default all that are stored."
        ),
    ] = None,
    problem: Annotated[
        list[str] | None,
        typer.Option(help="Only the problem of this id, as `gdn show` lists it; may be repeated."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Only this target, e.g. h200.")] = None,
    db: Annotated[
        str | None,
        typer.Option(
            metavar=METAVAR,
            help=f"Only this database; by default your own and the shipped one. {SERVER}",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The HTML file to write; it is replaced.")
    ] = PAGE,
    optuna: Annotated[
        Path | None,
        typer.Option(
            help="Write the trials as studies of Optuna to this new file instead, for "
            "optuna-dashboard."
        ),
    ] = None,
    *,
    model: ModelOptions,
) -> Answer:
    """Write what was tuned as one HTML page, which needs no network.

    For each problem and stage it has the best time by trial, the importance of the parameters and a
    heat map of the two most important ones; also the winners next to their reference, a roofline,
    the failures by cause, and the environments.

    With --optuna it writes the trials as studies instead, one per problem, stage and environment;
    `optuna-dashboard sqlite:///study.db` shows them.

    Examples:

        gdn report

        gdn report prefill --db tuned.db -o prefill.html

        gdn report --optuna study.db
    """
    from datetime import datetime, timezone

    from gdn_ops.results_path import databases, expanded
    from gdn_ops.tuner.cli.show import raise_missing
    from gdn_ops.tuner.page.page import html, write_path
    from gdn_ops.tuner.page.searches import stored
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.report.counted import counted
    from gdn_ops.tuner.spaces.workloads import buckets
    from gdn_ops.tuner.store.winner_tables import exists
    from gdn_ops.tuner.whole_file import write_whole

    chosen = model.workload(workload)
    if chosen is not None and problem:
        raise InvalidInput("--problem and a workload or model are given; leave out one of both.")
    wanted = None if not problem else frozenset(problem)
    if chosen is not None:
        wanted = frozenset(one.id() for one in buckets(chosen.problems))
    given_database = database_given(db)
    if given_database is not None and not exists(given_database):
        raise_missing(given_database)
    out = expanded(out, "-o")
    if optuna is None:
        write_path(out)
    paths = databases() if given_database is None else (given_database,)
    found = stored(paths, problems=wanted, target=target)
    _check_named(found, problem or [], paths, target)
    trials = sum(len(search.attempts) for search in found.searches)
    results = {
        "databases": found.databases, "searches": len(found.searches), "trials": trials,
        "winners": len(found.winners), "left_out": found.left_out,
    }  # fmt: skip
    counts = counted(trials, "trial")
    if optuna is not None:
        from gdn_ops.tuner.page.optuna_studies import write_studies

        optuna = expanded(optuna, "--optuna")
        names = write_studies(optuna, found.searches)
        console.say(f"{optuna}  {counts}")
        console.say(f"Next: `optuna-dashboard sqlite:///{optuna}` shows them.")
        return Answer(0, {"path": optuna, "studies": names, **results})
    write_whole(out, html(found, made=datetime.now(timezone.utc)))
    size = out.stat().st_size
    console.say(f"{out}  {size / 1e6:.2f} MB, {counts}, {counted(len(found.winners), 'winner')}")
    for sentence in found.left_out[:3]:
        console.remark(f"left out: {sentence}")
    return Answer(0, {"path": out, "bytes": size, **results})


def _check_named(
    found: Stored, problems: list[str], paths: tuple[Location, ...], target: str | None
) -> None:
    """Refuse the id of a problem that nothing is stored of; an empty page would hide a typo."""
    from gdn_ops.tuner.page.searches import stored

    with_rows = {s.problem_id for s in found.searches} | {w.problem_id for w in found.winners}
    for name in problems:
        if name not in with_rows:
            everything = stored(paths, target=target)
            known = {s.problem_id for s in everything.searches}
            raise UnknownName.of(
                "problem", name, known | {w.problem_id for w in everything.winners}
            )
