"""``gdn tune``: finds, verifies and stores the fastest variants for a workload's problems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.chosen_workload import chosen_workload
from gdn_ops.tuner.cli.exit_codes import INTERRUPTED
from gdn_ops.tuner.cli.locations import database_to_write
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.numbers import not_negative
from gdn_ops.tuner.cli.problem_options import ProblemOptions
from gdn_ops.tuner.cli.shared_options import with_options
from gdn_ops.tuner.cli.tuning_options import (
    DEFAULT_WORKLOAD,
    Again,
    AllowProviders,
    Cover,
    Db,
    Minutes,
    Plans,
    ProviderNames,
    Stale,
    StrategyName,
    Trials,
    WorkloadName,
)
from gdn_ops.tuner.spaces.workloads import Workload, buckets
from gdn_ops.tuner.strategies import AUTO, checked

if TYPE_CHECKING:
    from gdn_ops.tuner.search.asked_providers import Asked
    from gdn_ops.tuner.search.space_search import Options
    from gdn_ops.tuner.workers.kernel_check import Checked


LARGEST_SEED = 2**32 - 1
"""The largest seed that the sampler's random generator takes."""

LEAST_COVER = 0.5
"""The smallest share of the fastest variant's speed for --cover; less would waste half the GPU."""

KERNEL_TARGET, KERNEL_SECONDS = "h200", 40.0
"""Target and time limit of the check of the Triton kernels on a machine without a GPU."""


ALL_STALE = Workload("stale", "all problems with a stale winner", ())


@with_options(model=ModelOptions, given=ProblemOptions)
def tune(
    workload: WorkloadName = None,
    device: Annotated[
        str, typer.Option(help="auto (the first GPU, else the CPU), cpu or cuda:0.")
    ] = "auto",
    db: Db = None,
    minutes: Minutes = None,
    trials: Trials = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; PyTorch's default if left out.")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Tune on all GPUs of a Ray cluster: auto, local, HOST:PORT or ray://HOST:PORT.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="With --ray: only devices of this target, e.g. h200.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the search.")] = 0,
    again: Again = False,
    stale: Stale = False,
    cover: Cover = None,
    plans: Plans = "",
    providers: ProviderNames = None,
    allow_providers: AllowProviders = False,
    strategy: StrategyName = AUTO,
    *,
    model: ModelOptions,
    given: ProblemOptions,
) -> Answer:
    """Find and store the fastest correct kernel variant for each problem.

    A problem is one op with fixed head counts, head dims, dtype and sizes. Give a workload, a
    model's config.json, or options for one problem. Every variant is compared with the recurrence
    in fp64 before it is timed, and every trial is stored. After Ctrl-C, the same command continues
    where it stopped.

    A workload with counts, such as a recording (gdn_ops.recording, GDN_RECORD), has its time
    shared by what the calls of each problem cost together: a quarter equally, the rest by count
    times time per call.

    With --providers installed libraries are checked by the same accuracy gate and timed in turn
    with our fastest variants, and a table says how fast each is. With --allow-providers one of them
    may win.

    With --ray the nodes of a Ray cluster compile and measure, and this process searches and stores;
    --device is then auto, cuda or cpu.

    The defaults of a single problem are those of Qwen3-Next: 16 query/key heads, 32 value heads,
    K = V = 128, bf16, 2048 tokens (with --decode: 8 sequences).

    Examples:

        gdn tune

        gdn tune qwen3.5 --minutes 60

        gdn tune --model Qwen3.5-9B/config.json --lengths 2048,8192 --batches 1,32

        gdn tune calls.json --minutes 20

        gdn tune qwen3.5 --ray auto --target h200

        gdn tune --H 16 --HV 32 --K 128 --dtype bf16 --tokens 4096 --final-state

        gdn tune decode --cover 0.95

        gdn tune --stale

        gdn tune prefill --providers fla,flashinfer
    """
    from gdn_ops.tuner.search.asked_providers import asked_for

    asked = names_in(providers or "")
    if providers is not None and not asked:
        raise InvalidInput(f"--providers {providers!r} names none; known: {', '.join(PROVIDERS)}.")
    asked_providers = asked_for(asked, allowed=allow_providers)
    if asked_providers.versions and ray is not None:
        raise InvalidInput(
            "--providers times what is installed on this machine, and --ray tunes on others; leave "
            "out one."
        )
    if asked_providers.versions and stale:
        raise InvalidInput(
            "--stale times stale winners again, and --providers compares providers with winners; "
            "give one after the other."
        )
    if allow_providers and cover is not None:
        raise InvalidInput(
            "--cover chooses among our own variants, and --allow-providers lets a provider win; "
            "leave out one."
        )
    named = workload is not None or bool(given.facts()) or bool(model.given())
    if stale and not named:
        chosen = ALL_STALE
    else:
        chosen = chosen_workload(workload, model, given, DEFAULT_WORKLOAD)
    options = _options(
        chosen, trials=trials, seed=seed, again=again, plans=plans, strategy=strategy, cover=cover
    )
    limit = chosen.minutes if minutes is None else not_negative("--minutes", minutes)
    return _run(
        chosen,
        options,
        device=device,
        db=db,
        minutes=limit or None,
        threads=threads,
        stale=stale,
        providers=asked_providers,
        ray=ray,
        target=target,
    )


def names_in(text: str) -> list[str]:
    """The names in an option that takes several, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _run(
    chosen: Workload,
    options: Options,
    *,
    device: str,
    db: str | None,
    minutes: float | None,
    threads: int | None,
    stale: bool,
    providers: Asked,
    ray: str | None,
    target: str | None,
) -> Answer:
    """Tune and print the results."""
    from gdn_ops.tuner import session
    from gdn_ops.tuner.cli.tuning_result import print_results, results_json
    from gdn_ops.tuner.report import console

    if ray is None and target is not None:
        raise InvalidInput(f"--target {shown(target)} chooses among nodes; give --ray too.")
    request = session.Request(
        workload=chosen.name,
        problems=buckets(chosen.problems),
        database=database_to_write(db),
        device=device,
        minutes=minutes,
        threads=threads,
        counts=chosen.bucket_counts(),
        stale=stale,
        providers=providers,
        options=options,
    )
    if ray is not None:
        from gdn_ops.tuner.cli.tune_on_ray import tune_on_ray

        return tune_on_ray(request, ray, target)
    result = session.tune(request, console.progress_view())
    print_results({"": result}, request.database)
    kernels: list[Checked] = []
    if result.interrupted:
        code = INTERRUPTED
    else:
        code = 0 if result.winners or not result.failures else 1
        if chosen.check_kernels and session.device_named(device) == "cpu":
            kernels = _check_kernels(chosen.problems)
    return Answer(code, results_json([result], request.database, kernels))


def _options(
    chosen: Workload,
    *,
    trials: int | None,
    seed: int,
    again: bool,
    plans: str,
    strategy: str,
    cover: float | None,
) -> Options:
    from gdn_ops.codegen.variant import plan_named
    from gdn_ops.tuner.search.space_search import Options

    checked(strategy, auto=True)
    if not 0 <= seed <= LARGEST_SEED:
        raise InvalidInput(f"--seed {shown(seed)} must be >= 0 and <= {LARGEST_SEED}.")
    if cover is not None and not LEAST_COVER <= cover <= 1:
        raise InvalidInput(
            f"--cover {shown(cover)} must be >= {LEAST_COVER} and <= 1, a share of the fastest "
            "variant's speed, e.g. 0.95."
        )
    return Options(
        trials=chosen.trials if trials is None else int(not_negative("--trials", trials)),
        strategy=strategy,
        seed=seed,
        plans=tuple(plan_named(name).name for name in names_in(plans)),
        again=again,
        cover=cover,
    )


def _check_kernels(problems: Sequence[Problem]) -> list[Checked]:
    """Check what needs no GPU: run the Triton kernels in the interpreter and compile them."""
    from gdn_ops.codegen.targets import target_named
    from gdn_ops.tuner.cores import cores
    from gdn_ops.tuner.interruption import Interruption
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.workers.kernel_check import check_kernels

    target, interruption = target_named(KERNEL_TARGET), Interruption()
    problem = max(problems, key=lambda problem: (problem.dtype == "bf16", problem.tokens))
    console.say(f"There is no GPU here. The default kernels for {target.name}, not timed:")
    found: list[Checked] = []
    with interruption.listen():
        for checked in check_kernels(
            problem, target, seconds=KERNEL_SECONDS, workers=cores(),
            interruption=interruption,
        ):  # fmt: skip
            found.append(checked)
            if checked.interpreted or not checked.ok:
                console.say(f"  {checked.plan} {checked.stage}: {checked.what}")
    compiled = [checked for checked in found if not checked.interpreted]
    if compiled:  # else the interpreter took all the time
        right = sum(checked.ok for checked in compiled)
        console.say(
            f"  {right} of {len(compiled)} kernels compile for {target.name}; "
            f"`gdn compile --target {target.name}` lists them."
        )
    return found
