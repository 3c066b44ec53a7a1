"""``gdn explain``: says which variant a problem runs on, and why; or each layer of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.chosen_workload import refuse_both
from gdn_ops.tuner.cli.exit_codes import FAILURE
from gdn_ops.tuner.cli.json_fields import of_explanation, of_model_row
from gdn_ops.tuner.cli.locations import METAVAR, SERVER, database_given
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.problem_options import ProblemOptions
from gdn_ops.tuner.cli.shared_options import with_options

if TYPE_CHECKING:
    from gdn_ops.dispatch.finder import Finder
    from gdn_ops.dispatch.model_explanation import ModelExplanation
    from gdn_ops.dispatch.winner_table import WinnerTable


@with_options(model=ModelOptions, given=ProblemOptions)
def explain(
    workload: Annotated[
        str | None,
        typer.Argument(
            help="Explain each problem of a workload as for `gdn tune`, or of a JSON or TOML file "
            "of problems, in a table."
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Explain for this target instead of this machine.")
    ] = None,
    db: Annotated[
        str | None,
        typer.Option(
            metavar=METAVAR,
            help="Explain what calls would run on with this database instead of your own. "
            f"{SERVER}",
        ),
    ] = None,
    every_plan: Annotated[
        bool,
        typer.Option("--all", help="On a CPU, give each plan that needs a GPU a line of its own."),
    ] = False,
    *,
    model: ModelOptions,
    given: ProblemOptions,
) -> Answer:
    """Say which variant a problem runs on, and why.

    Prints the chosen variant, the stored result that decided, and why other plans are not used.
    With --backward it also prints, for each setting of gdn_ops.saving_for_backward, how much memory
    it keeps from the forward and how many bytes the backward then reads and writes.

    With --db or GDN_RESULTS_DB it reads a server, which calls do not: they run on its winners once
    `gdn pull` has brought them here.

    For a workload or a model it prints a table with a row for each problem. Column `found` says how
    the variant was found; a stored time is that of the stored problem that fits best.

    Options that are left out are those of Qwen3-Next: 16 query/key heads, 32 value heads,
    K = V = 128, bf16, 2048 tokens (with --decode: 8 sequences).

    Examples:

        gdn explain

        gdn explain --decode --sequences 8 --dtype fp32

        gdn explain --target h200 --tokens 32768

        gdn explain --backward

        gdn explain --gate vector --raw-gate

        gdn explain --model Qwen3.5-9B/config.json --target h200
    """
    from gdn_ops.dispatch.choice import choosing_from
    from gdn_ops.dispatch.explanation import explained_problem
    from gdn_ops.tuner.report import console

    with choosing_from(winners_of(db)):
        explained = explained_model(model, workload, given, target)
        if explained is None:
            explanation = explained_problem(given.problem(), _finder(target))
            console.say(explanation.text(every_plan=every_plan))
            code = 0 if explanation.found is not None else FAILURE
            return Answer(code, of_explanation(explanation))
        show(explained)
        rows = [of_model_row(row) for row in explained.rows]
        return Answer(0, {"target": explained.target, "rows": rows})


def winners_of(db: str | None) -> WinnerTable:
    """The winners of a database and the shipped one; by default those of all databases.

    Raises:
        ResultsError: the database that is given cannot be read, or one on a server.
    """
    from gdn_ops.results_path import databases, shipped_database
    from gdn_ops.results_url import ResultsUrl
    from gdn_ops.tuner.cli.show import raise_missing
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.store.winner_tables import exists, load_winners

    given = database_given(db)
    if given is not None and not exists(given):
        raise_missing(given)
    paths = databases() if given is None else (given, shipped_database())
    table = load_winners(dict.fromkeys(paths))
    if table.faults and (given is not None or isinstance(paths[0], ResultsUrl)):
        raise table.faults[0]
    for fault in table.faults:
        console.fail(f"{fault} This database is ignored.")
    return table


def explained_model(
    model: ModelOptions, workload: str | None, given: ProblemOptions, target: str | None
) -> ModelExplanation | None:
    """What the problems of a model or of a workload run on; None if neither was given."""
    from gdn_ops.tuner.report.counted import counted
    from gdn_ops.tuner.spaces.workloads import workload_named

    layers = model.layers(workload, given.facts())
    if layers is None and workload is None:
        return None
    from gdn_ops.dispatch.model_explanation import explained, explained_problems

    find = _finder(target)
    if layers is not None:
        return explained({layers.mixer: str(layers)}, model.use(), find)
    assert workload is not None
    refuse_both(workload, given.facts())
    chosen = workload_named(workload)
    counts = chosen.counts or [None] * len(chosen.problems)
    texts = ["" if n is None else counted(n, "call") for n in counts]
    return explained_problems(list(zip(texts, chosen.problems, strict=True)), find)


def _finder(target: str | None) -> Finder:
    """What finds the choice for a target, or for the device of this machine."""
    from gdn_ops.dispatch.finder import finder, finder_here

    if target is not None:
        return finder("cpu", target)
    return finder_here()


def show(explained: ModelExplanation) -> None:
    """Print an explanation as a table, with its summary."""
    from gdn_ops.dispatch.model_explanation import COLUMNS
    from gdn_ops.tuner.report import console

    *columns, time = COLUMNS
    console.table((*columns, f"{time}>"), [row.cells() for row in explained.rows])
    console.say(explained.summary())
