"""``gdn predict``: predicts the fastest variants for a GPU that this machine does not have."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.chosen_workload import chosen_workload, workload_argument
from gdn_ops.tuner.cli.json_fields import of_variant
from gdn_ops.tuner.cli.locations import DEFAULT, METAVAR, SERVER, database_to_write
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.problem_options import ProblemOptions
from gdn_ops.tuner.cli.shared_options import with_options

if TYPE_CHECKING:
    from gdn_ops.codegen.problem import Problem
    from gdn_ops.codegen.target import Target
    from gdn_ops.results_url import Location
    from gdn_ops.tuner.cost.many_targets import TargetPredictions


Cells = tuple[str, str, str, str, str, str]
"""A problem, a variant, its predicted time, the interval, its ratio to the best, and how sure."""
DEFAULT_WORKLOAD, DEFAULT_TARGET = "prefill", "h200"
EVERY = "all"
"""The name that stands for every GPU that can be predicted."""


@with_options(model=ModelOptions, given=ProblemOptions)
def predict(
    workload: Annotated[str | None, workload_argument(DEFAULT_WORKLOAD)] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a GPU: h200, a100, b200, ...; may be given several times. all: every GPU "
            f"that can be predicted. By default {DEFAULT_TARGET}."
        ),
    ] = None,
    configs: Annotated[
        str,
        typer.Option(
            help="Configs to compare for each stage: default, corners (each axis at its first and "
            "last value), all, search (step by step to a better value of one axis), or few (search "
            "where a stage first occurs, and elsewhere compare what was found: for many problems). "
            "By default few if there are several targets, else default."
        ),
    ] = "",
    store: Annotated[
        bool,
        typer.Option("--store", help="Store the predictions as winners until one is measured."),
    ] = False,
    db: Annotated[
        str | None,
        typer.Option(metavar=METAVAR, help=f"Results database. Default: {DEFAULT}. {SERVER}"),
    ] = None,
    *,
    model: ModelOptions,
    given: ProblemOptions,
) -> Answer:
    """Predict the fastest variants for a GPU, from compiled code alone.

    The stages are compiled for the GPU and a cost model estimates their times; nothing is run, so
    the GPU need not be here. The true time is within the 90 % interval in 9 of 10 cases. Column
    `surely best` is the probability that the first variant is faster than the second.

    With --store, calls on that GPU use the predicted variants until `gdn tune` has measured winners
    there. Predicted winners are always marked as such.

    Examples:

        gdn predict prefill --target b200

        gdn predict decode --target h100 --configs search --store

        gdn predict --model Qwen3.5-9B/config.json --target h200 --store

        gdn predict common --target all --store

        gdn predict --target h100 --H 16 --HV 32 --K 128 --tokens 4096
    """
    from gdn_ops.tuner.cost.prediction import CHOICES
    from gdn_ops.tuner.cost.shortlist import FEW
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.spaces.workloads import buckets

    rows_of = _targets(target or [DEFAULT_TARGET])
    configs = configs or (FEW if len(rows_of) > 1 else "default")
    if configs not in (*CHOICES, FEW):
        raise UnknownName.of("configs", configs, (*CHOICES, FEW))
    chosen = chosen_workload(workload, model, given, DEFAULT_WORKLOAD)
    problems = buckets(chosen.problems)
    names, kept = ", ".join(row.name for row in rows_of), 0
    database = database_to_write(db) if store else None
    if database is not None:
        _check_writable(database)
    found: list[dict[str, Any]] = []
    for each in _predicted(problems, rows_of, configs):
        _show(each)
        found += _entries(each)
        if database is not None:
            kept += _store(each, database)
    if store:
        console.say(
            f"Stored {kept} of {len(found)} predictions in {database}; no measured winner is "
            "replaced."
        )
    else:
        console.say("Nothing is stored; --store stores these as predicted winners.")
    results = {"target": names, "predictions": found, "stored": kept, "database": database}
    return Answer(0, results)


def _targets(names: list[str]) -> list[Target]:
    """The targets of some names, each once; refuses those that cannot be predicted."""
    from gdn_ops.codegen.targets import target_named
    from gdn_ops.tuner.cost.many_targets import predicted_targets, refusal

    if EVERY in names:
        return list(predicted_targets())
    found = [target_named(name) for name in dict.fromkeys(names)]
    for target in found:
        if why := refusal(target):
            raise InvalidInput(why)
    return found


def _predicted(
    problems: tuple[Problem, ...], targets: list[Target], configs: str
) -> Iterator[TargetPredictions]:
    from gdn_ops.results_path import cache_folder
    from gdn_ops.tuner.cores import cores
    from gdn_ops.tuner.cost.compiled_file import CompiledFile
    from gdn_ops.tuner.cost.many_targets import TargetPredictions, predict_targets
    from gdn_ops.tuner.cost.model import CostModel
    from gdn_ops.tuner.cost.prediction import predict as predicted
    from gdn_ops.tuner.cost.shortlist import FEW
    from gdn_ops.tuner.workers.worker_pool import WorkerPool

    with WorkerPool(cores(), threads=1) as pool:
        if configs == FEW:
            file = CompiledFile(cache_folder() / "compiled.jsonl")
            yield from predict_targets(problems, targets, pool, file=file)
            return
        for target in targets:
            costs = CostModel(target, pool)
            rankings = {problem: predicted(problem, costs, configs=configs) for problem in problems}
            yield TargetPredictions(target=target, rankings=rankings, left_out={})


def _show(found: TargetPredictions) -> None:
    from gdn_ops.seconds import seconds_text
    from gdn_ops.tuner.report import console

    rows: list[Cells] = []
    left_out: Counter[tuple[str, str]] = Counter()
    for problem, ranking in found.rankings.items():
        ranked = ranking.predictions
        left_out.update(ranking.left_out.items())
        rows += [
            (problem.id() if i == 0 else "", str(p.variant), seconds_text(p.seconds),
             " .. ".join(map(seconds_text, p.interval)),
             f"{p.seconds / ranked[0].seconds:.2f}x", _sure(ranking.lead) if i == 0 else "")
            for i, p in enumerate(ranked)
        ]  # fmt: skip
    console.say(f"{found.target.name}:")
    columns = (
        "problem", "variant", "predicted>", "90 % interval>", "time / best>", "surely best>",
    )  # fmt: skip
    width = console.width()
    if width is None or console.fits(columns, rows):
        console.table(columns, rows)
    else:
        for row in rows:
            console.say(_stacked(row, width))
    for (plan, reason), count in left_out.items():
        console.remark(
            f"plan {plan} is not predicted for {count} of {len(found.rankings)} problems: {reason}"
        )
    for problem, reason in found.left_out.items():
        console.remark(f"{problem.id()} is left out: {reason}")


def _stacked(row: Cells, width: int) -> str:
    """A row in a few lines, for a terminal in which the table would fold its variants."""
    problem, variant, seconds, interval, ratio, sure = row
    told = f"{seconds} [{interval}], {ratio} the best" + f", surely best {sure}" * bool(sure)
    wrapped = textwrap.wrap(
        variant,
        width,
        initial_indent="    ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join([*([problem] if problem else []), f"  {told}", *wrapped])


def _sure(lead: float | None) -> str:
    """How probable it is that the first variant is faster than the second."""
    return "" if lead is None else f"{100 * lead:.0f} %"


def _entries(found: TargetPredictions) -> list[dict[str, Any]]:
    """What --json says of each problem."""
    return [
        {
            "problem_id": problem.id(),
            "variants": [
                {
                    **of_variant(p.variant),
                    "predicted_seconds": p.seconds,
                    "low_seconds": p.interval[0],
                    "high_seconds": p.interval[1],
                }
                for p in ranking.predictions
            ],
            "lead_probability": ranking.lead,
            "left_out": [{"plan": plan, "reason": why} for plan, why in ranking.left_out.items()],
        }
        for problem, ranking in found.rankings.items()
    ]


def _check_writable(location: Location) -> None:
    """Raise ResultsError before anything is compiled if predictions could not be stored."""
    from gdn_ops.tuner.store.db import open_database

    open_database(location, create=True).close()


def _store(found: TargetPredictions, location: Location) -> int:
    """Store the best prediction of each problem; returns for how many."""
    from gdn_ops.tuner.cost.stored_predictions import store_predictions
    from gdn_ops.tuner.store.db import open_database
    from gdn_ops.tuner.store.store import Store

    best = [ranking.predictions[0] for ranking in found.rankings.values()]
    with open_database(location, create=True) as database:
        return store_predictions(Store(database), found.target, best)
