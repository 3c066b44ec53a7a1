"""``gdn predict``: predicts the fastest variants for a GPU that this machine does not have."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.json_fields import of_variant
from gdn_ops.tuner.cli.locations import DEFAULT, METAVAR, SERVER, database_to_write
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.shared_options import with_options

if TYPE_CHECKING:
    from gdn_ops.results_url import Location
    from gdn_ops.tuner.cost.prediction import Prediction


DEFAULT_WORKLOAD = "prefill"


@with_options(model=ModelOptions)
def predict(
    workload: Annotated[
        str | None,
        typer.Argument(
            help="A workload as for `gdn tune`, or a JSON or TOML file of problems; by default "
            f"{DEFAULT_WORKLOAD}."
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="Name of a GPU: h200, a100, b200, ...")] = "h200",
    configs: Annotated[
        str,
        typer.Option(
            help="Configs to compare for each stage: default, corners (each axis at its first and "
            "last value), all, or search (step by step to a better value of one axis)."
        ),
    ] = "default",
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
) -> Answer:
    """Predict the fastest variants for a GPU, from compiled code alone.

    The stages are compiled for the GPU and a cost model estimates their times; nothing is run, so
    the GPU need not be here. With --store, calls on that GPU use the predicted variants until `gdn
    tune` has measured winners there. Predicted winners are always marked as such.

    Examples:

        gdn predict prefill --target b200

        gdn predict decode --target h100 --configs search --store

        gdn predict --model Qwen3.5-9B/config.json --target h200 --store
    """
    from gdn_ops.codegen.targets import target_named
    from gdn_ops.seconds import seconds_text
    from gdn_ops.tuner.cores import cores
    from gdn_ops.tuner.cost.model import CostModel
    from gdn_ops.tuner.cost.prediction import CHOICES
    from gdn_ops.tuner.cost.prediction import predict as predicted
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.spaces.workloads import buckets
    from gdn_ops.tuner.workers.worker_pool import WorkerPool

    row = target_named(target)
    if not row.gpu:
        raise InvalidInput(f"{target} is not a GPU; name a GPU, or measure with `gdn tune`.")
    if row.vendor != "nvidia":
        raise InvalidInput(
            f"{target} is not predicted: the cost model counts NVIDIA instructions; name an NVIDIA "
            "GPU, or measure with `gdn tune`."
        )
    if configs not in CHOICES:
        raise UnknownName.of("configs", configs, CHOICES)
    chosen = model.workload(workload, DEFAULT_WORKLOAD)
    assert chosen is not None
    problems = buckets(chosen.problems)
    rows: list[tuple[str, ...]] = []
    best: list[Prediction] = []
    found: list[dict[str, Any]] = []
    left_out: Counter[tuple[str, str]] = Counter()
    with WorkerPool(cores(), threads=1) as pool:
        costs = CostModel(row, pool)
        for problem in problems:
            ranking = predicted(problem, costs, configs=configs)
            ranked = ranking.predictions
            left_out.update(ranking.left_out.items())
            best.append(ranked[0])
            found.append(
                {
                    "problem_id": problem.id(),
                    "variants": [
                        {**of_variant(p.variant), "predicted_seconds": p.seconds} for p in ranked
                    ],
                    "left_out": [
                        {"plan": plan, "reason": why} for plan, why in ranking.left_out.items()
                    ],
                }
            )
            rows += [
                (problem.id() if i == 0 else "", str(p.variant), seconds_text(p.seconds),
                 f"{p.seconds / ranked[0].seconds:.2f}x")
                for i, p in enumerate(ranked)
            ]  # fmt: skip
            console.say(f"{problem.id()}: {ranked[0].variant.plan}")
    console.table(("problem", "variant", "predicted>", "vs best>"), rows)
    for (plan, reason), count in left_out.items():
        console.remark(
            f"plan {plan} is not predicted for {count} of {len(problems)} problems: {reason}"
        )
    database, kept = None, 0
    if store:
        database = database_to_write(db)
        kept = _store(best, row.name, row.arch, database)
        console.say(
            f"Stored {kept} of {len(best)} predictions in {database}; no measured winner is "
            "replaced."
        )
    else:
        console.say("Nothing is stored; --store stores these as predicted winners.")
    results = {"target": row.name, "predictions": found, "stored": kept, "database": database}
    return Answer(0, results)


def _store(best: list[Prediction], target: str, arch: str, location: Location) -> int:
    """Store the predictions for problems without a measured winner; returns how many."""
    from gdn_ops.tuner.store.db import open_database
    from gdn_ops.tuner.store.records import NewWinner
    from gdn_ops.tuner.store.store import Store

    kept = 0
    with open_database(location, create=True) as database:
        known = Store(database)
        for prediction in best:
            problem = prediction.problem
            current = known.winner(problem.id(), target)
            if current is not None and current.provenance == "measured":
                continue
            known.add_problem(problem.id(), problem.facts())
            seconds = prediction.seconds
            known.set_winner(
                NewWinner(
                    problem_id=problem.id(), target=target, arch=arch,
                    variant_id=prediction.variant.id, variant=prediction.variant.to_json(),
                    median=seconds, low=seconds, high=seconds, reference=None,
                    provenance="predicted", trial_id=None, environment_id=None,
                )
            )  # fmt: skip
            kept += 1
    return kept
