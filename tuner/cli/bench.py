"""``gdn bench``: times what the dispatcher runs on this machine against the reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.results_url import Location
from gdn_ops.tuner.cli.answer import Answer, Ended
from gdn_ops.tuner.cli.chosen_workload import chosen_workload, workload_argument
from gdn_ops.tuner.cli.exit_codes import FAILURE
from gdn_ops.tuner.cli.json_fields import of_choice, of_times
from gdn_ops.tuner.cli.locations import METAVAR, SERVER, database_given
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.numbers import above_zero
from gdn_ops.tuner.cli.problem_options import ProblemOptions
from gdn_ops.tuner.cli.shared_options import with_options

DEFAULT_WORKLOAD = "quickstart"


@with_options(model=ModelOptions, given=ProblemOptions)
def bench(
    workload: Annotated[str | None, workload_argument(DEFAULT_WORKLOAD)] = None,
    device: Annotated[
        str, typer.Option(help="auto (the first GPU, else the CPU), cpu or cuda:0.")
    ] = "auto",
    rounds: Annotated[
        int, typer.Option(help="Samples per variant, at least 5; more if --seconds allows.")
    ] = 9,
    seconds: Annotated[float, typer.Option(help="Time budget per problem, in seconds.")] = 20.0,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; PyTorch's default if left out.")
    ] = None,
    cost_model: Annotated[
        bool,
        typer.Option(
            "--cost-model", help="Check the cost model against stored trials; time nothing."
        ),
    ] = False,
    profiled: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Say what the time consists of: products, copies, elementwise, the rest; on a GPU "
            "by kernel.",
        ),
    ] = False,
    db: Annotated[
        str | None,
        typer.Option(
            metavar=METAVAR,
            help=f"With --cost-model: read only this results database. {SERVER}",
        ),
    ] = None,
    *,
    model: ModelOptions,
    given: ProblemOptions,
) -> Answer:
    """Time the variants that calls on this machine run on.

    For each problem of a workload, of a model or of options, the variant that the dispatcher
    chooses is timed in turn with the reference, which is the chunkwise form of the rule in plain
    PyTorch. To compare with transformers, run `python -m bench`. Column `how` says how the variant
    was found (see `gdn explain`), and `stored` is the time of the stored winner.

    With --profile the chosen variant of each problem runs under torch.profiler, in this process,
    and a table says how much of its time are products of matrices and at what rate, copies and
    conversions, elementwise operators, and the rest.

    With --cost-model nothing is timed. Instead, the order of variants that the cost model predicts
    is compared with the measured order, for every problem with stored trials. If two kinds of CPU
    have trials, a second table says what each loses by the other's winners.

    Examples:

        gdn bench

        gdn bench decode --rounds 15

        gdn bench --H 16 --HV 32 --K 128 --tokens 4096

        gdn bench --model Qwen3.5-9B/config.json

        gdn bench prefill --profile --threads 1

        gdn bench --cost-model
    """
    if cost_model:
        unread = [*([] if workload is None else [f"the workload {workload!r}"]), *model.given()]
        unread += [f"the {fact} of a problem" for fact in given.facts()]
        if unread:
            raise InvalidInput(
                f"{', '.join(unread)} is not read with --cost-model; leave out one of them."
            )
        if profiled:
            raise InvalidInput("--profile and --cost-model exclude each other; leave one out.")
        return _judge(db, threads=threads)
    if db is not None:
        raise InvalidInput(f"--db {db} is only read with --cost-model; leave it out.")
    import torch

    from gdn_ops.dispatch.choice import choose
    from gdn_ops.dispatch.device import target_of
    from gdn_ops.seconds import seconds_text
    from gdn_ops.tuner.cores import cores, thread_count
    from gdn_ops.tuner.interruption import Interruption
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.session import device_named
    from gdn_ops.tuner.workers.harness import Effort, WorkerHarness

    if rounds < 5:
        raise InvalidInput(f"--rounds {rounds} is too few for an interval; give at least 5.")
    above_zero("--seconds", seconds)
    chosen = chosen_workload(workload, model, given, DEFAULT_WORKLOAD)
    problems = chosen.problems
    where = device_named(device)
    target = target_of(torch.device(where))
    if profiled:
        return _profile(problems, target, where, threads=thread_count(threads), rounds=rounds)
    harness = WorkerHarness(
        target, where, threads=thread_count(threads), compilers=cores(), interruption=Interruption()
    )
    rows, found, failures = [], [], []
    try:
        for problem in problems:
            choice = choose(problem, target)
            effort = Effort(rounds=rounds, seconds=seconds, reference=True)
            measured = harness.measure(problem, [choice.variant], stage=None, effort=effort)
            if measured.status != "ok":
                console.fail(f"{problem.id()}: {measured.status}: {measured.message}")
                why = {"status": measured.status, "message": measured.message}
                failures.append({"problem_id": problem.id(), **why})
                continue
            ours, reference = measured.timings[choice.variant.id], measured.reference
            assert reference is not None
            found.append(
                {
                    **of_choice(choice), **of_times(ours.median, ours.low, ours.high),
                    "stored_seconds": None if choice.winner is None else choice.winner.median,
                    "reference_seconds": reference.median,
                    "speedup": reference.median / ours.median,
                }
            )  # fmt: skip
            then = "-" if choice.winner is None else seconds_text(choice.winner.median)
            rows.append(
                (
                    problem.id(), str(choice.variant), choice.how, seconds_text(ours.median),
                    f"{seconds_text(ours.low)} .. {seconds_text(ours.high)}", then,
                    seconds_text(reference.median), f"{reference.median / ours.median:.2f}x",
                )
            )  # fmt: skip
    finally:
        harness.close()
    columns = (
        "problem", "variant", "how", "median>", "95 % interval>", "stored>", "reference>",
        "speed-up>",
    )  # fmt: skip
    if rows:
        console.table(columns, rows)
        console.say(f"on {target.name}, {where}")
    results = {"target": target.name, "device": where, "rows": found, "failures": failures}
    return Answer(1 if failures else 0, results)


def _profile(
    problems: Sequence[Problem], target: Target, device: str, *, threads: int, rounds: int
) -> Answer:
    """Print for each problem what the time of the variant that calls run on consists of."""
    from dataclasses import asdict

    import torch

    from gdn_ops.dispatch.choice import choose
    from gdn_ops.seconds import seconds_text
    from gdn_ops.tuner.measure.operator_profile import operator_profile
    from gdn_ops.tuner.report import console

    found = []
    for problem in problems:
        variant = choose(problem, target).variant
        parts = operator_profile(
            problem, variant, device=torch.device(device), threads=threads, rounds=rounds
        )
        total = sum(part.seconds for part in parts)
        rows = [
            (
                part.name, seconds_text(part.seconds), f"{part.seconds / total:.0%}",
                str(part.calls or "-"),
                f"{part.flops / part.seconds * 1e-9:.0f}" if part.flops else "-",
            )
            for part in parts
        ]  # fmt: skip
        columns = ("part", "time>", "share>", "calls>", "GFLOP/s>")
        console.table(columns, rows, title=f"{problem.id()}: {variant}, {seconds_text(total)}")
        console.say()
        found.append(
            {"problem": problem.id(), "variant": variant.id, "parts": [asdict(p) for p in parts]}
        )
    return Answer(0, {"target": target.name, "device": device, "profiles": found})


def _regret_of_kindred(paths: Sequence[Location]) -> None:
    """Print what CPUs lose by the winners of another kind of CPU."""
    from gdn_ops.tuner.cost.kindred_regret import cpu_kinds, kindred_regrets
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.store.db import open_database
    from gdn_ops.tuner.store.store import Store
    from gdn_ops.tuner.store.winner_tables import exists

    trials = []
    for path in filter(exists, paths):
        with open_database(path, create=False, writable=False) as database:
            trials += Store(database, warn=console.say).trials(status="ok")
    kinds, regrets = cpu_kinds(trials), kindred_regrets(trials)
    if not regrets:
        console.say(
            f"Kinds of CPU with measured rows: {', '.join(kinds) or 'none'}. What a CPU loses by "
            "winners of another kind (kindred arch) is known only if two kinds timed one problem."
        )
        return
    rows = [(r.problem_id, r.target, r.kindred, f"{r.ratio:.2f}x") for r in regrets]
    columns = ("problem", "CPU", "winner of", "time / best>")
    console.table(columns, rows)


def _judge(db: str | None, *, threads: int | None) -> Answer:
    """Compare predicted with measured times of every problem with stored trials."""
    import torch

    from gdn_ops.results_path import databases
    from gdn_ops.tuner.cores import thread_count
    from gdn_ops.tuner.cost.stored_judgements import stored_judgements
    from gdn_ops.tuner.report import console

    torch.set_num_threads(thread_count(threads))
    given = database_given(db)
    paths = databases() if given is None else [given]
    found = stored_judgements(paths, warn=console.say)
    rows = [
        (
            j.problem_id, j.target, str(j.variants), f"{j.correlation:.2f}", f"{j.regret:.2f}x",
            f"{j.ratio:.2f}",
        )
        for j in found
    ]  # fmt: skip
    if not rows:
        raise Ended(
            "no database has enough trials of whole variants; run `gdn tune` first.", FAILURE
        )
    columns = (
        "problem", "target", "variants>", "rank correlation>", "first / best>",
        "predicted / measured>",
    )  # fmt: skip
    console.table(columns, rows)
    total = sum(j.variants for j in found)
    mean = sum(j.correlation * j.variants for j in found) / total
    regret = sum(j.regret for j in found) / len(found)
    console.say(
        f"{total} variants of {len(found)} problems: mean rank correlation {mean:.2f}; the variant "
        f"that is predicted first takes {regret:.2f}x the time of the best one"
    )
    _regret_of_kindred(paths)
    judgements = [
        {
            "problem_id": j.problem_id, "target": j.target, "variants": j.variants,
            "rank_correlation": j.correlation, "first_over_best": j.regret,
            "predicted_over_measured": j.ratio,
        }
        for j in found
    ]  # fmt: skip
    return Answer(0, {"judgements": judgements})
