"""``gdn tune``: find, verify and store the fastest variants of a workload's problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput, UnknownName, shown
from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.cli import problem_options as option
from gdn_ops.tuner.cli.numbers import not_negative

if TYPE_CHECKING:
    from gdn_ops.tuner.campaign import Result
    from gdn_ops.tuner.search.space_search import Options
    from gdn_ops.tuner.session import Request
    from gdn_ops.tuner.spaces.workloads import Workload

INTERRUPTED = 130

LARGEST_SEED = 2**32 - 1
"""What the sampler's generator takes."""

KERNEL_TARGET, KERNEL_SECONDS = "h200", 40.0
"""For what and for how long the Triton kernels are looked at where there is no GPU."""


WorkloadName = Annotated[
    str | None,
    typer.Argument(
        help="quickstart (the default), prefill, decode, serving, train, qwen3.5, kda, tiny, or a "
        "JSON or TOML file with a list `problems`."
    ),
]
Db = Annotated[
    Path | None, typer.Option(help="Results database; GDN_RESULTS_DB or your own otherwise.")
]
Minutes = Annotated[float | None, typer.Option(help="Time for all problems; 0 for no limit.")]
Trials = Annotated[int | None, typer.Option(help="New configs tried in each space.")]
Again = Annotated[bool, typer.Option("--again", help="Tune finished problems further.")]
Plans = Annotated[str, typer.Option(help="Only these plans, e.g. split,recurrent.")]


def tune(
    workload: WorkloadName = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    db: Db = None,
    minutes: Minutes = None,
    trials: Trials = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a CPU.")] = None,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    again: Again = False,
    plans: Plans = "",
    strategy: Annotated[str, typer.Option(help="auto, enumeration or tpe.")] = "auto",
    H: option.H = None,
    HV: option.HV = None,
    K: option.K = None,
    V: option.V = None,
    dtype: option.DType = None,
    tokens: option.Tokens = None,
    sequences: option.Sequences = None,
    decode: option.Decode = False,
    backward: option.Backward = False,
    varlen: option.Varlen = False,
    gate: option.Gate = None,
    linear: option.Linear = False,
    initial_state: option.InitialState = False,
    final_state: option.FinalState = False,
    raw_gate: option.RawGate = False,
) -> int:
    """Find the fastest right kernel variant of each problem and store it.

    Every variant is checked against the rule in fp64 before it is timed; every trial is kept.
    Ctrl-C keeps what is known; the same command goes on from there.

    Examples:

        gdn tune

        gdn tune qwen3.5 --minutes 60

        gdn tune --H 16 --HV 32 --K 128 --dtype bf16 --tokens 4096 --final-state
    """
    facts = option.given_facts(
        H=H, HV=HV, K=K, V=V, dtype=dtype, tokens=tokens, sequences=sequences, decode=decode,
        backward=backward, varlen=varlen, gate=gate, initial_state=initial_state,
        final_state=final_state, raw_gate=raw_gate, linear=linear,
    )  # fmt: skip
    chosen = _workload(workload, facts)
    options = _options(
        chosen, trials=trials, seed=seed, again=again, plans=plans, strategy=strategy
    )
    limit = chosen.minutes if minutes is None else not_negative("--minutes", minutes)
    return _run(chosen, options, device=device, db=db, minutes=limit or None, threads=threads)


def _run(
    chosen: Workload,
    options: Options,
    *,
    device: str,
    db: Path | None,
    minutes: float | None,
    threads: int | None,
) -> int:
    """Tune, print what came of it, and return the exit code."""
    from gdn_ops.results_path import expanded, user_database
    from gdn_ops.tuner import session
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.spaces.workloads import buckets

    request = session.Request(
        workload=chosen.name,
        problems=buckets(chosen.problems),
        database=(expanded(db, "--db") if db else user_database()).absolute(),
        device=device,
        minutes=minutes,
        threads=threads,
        options=options,
    )
    result = session.tune(request, console.progress_view())
    _print(request, result)
    if result.interrupted:
        return INTERRUPTED
    if chosen.check_kernels and session.device_named(device) == "cpu":
        _check_kernels(chosen.problems)
    return 0 if result.winners or not result.failures else 1


def _workload(name: str | None, facts: dict[str, Any]) -> Workload:
    """The workload that was named, or the one problem that was described."""
    from gdn_ops.tuner.spaces.workloads import Workload, workload_named

    if name is not None and facts:
        raise InvalidInput(
            f"the workload {name!r} and a problem ({', '.join(facts)}) are given; leave one out."
        )
    if not facts:
        return workload_named(name or "quickstart")
    problem = option.problem_from(facts)
    return Workload(problem.id(), "one problem", (problem,), minutes=10.0)


def _options(
    chosen: Workload, *, trials: int | None, seed: int, again: bool, plans: str, strategy: str
) -> Options:
    from gdn_ops.codegen.variant import plan_named
    from gdn_ops.tuner.search.space_search import Options
    from gdn_ops.tuner.strategies import AUTO, STRATEGIES

    if strategy not in (AUTO, *STRATEGIES):
        raise UnknownName.of("strategy", strategy, (AUTO, *STRATEGIES))
    if not 0 <= seed <= LARGEST_SEED:
        raise InvalidInput(f"--seed {shown(seed)} is outside 0..{LARGEST_SEED}; give one within.")
    names = [name.strip() for name in plans.split(",") if name.strip()]
    return Options(
        trials=chosen.trials if trials is None else int(not_negative("--trials", trials)),
        strategy=strategy,
        seed=seed,
        plans=tuple(plan_named(name).name for name in names),
        again=again,
    )


def _check_kernels(problems: Sequence[Problem]) -> None:
    """Show the half of the job that needs no GPU: the Triton kernels interpreted and compiled."""
    from gdn_ops.codegen.targets import target_named
    from gdn_ops.tuner.cores import cores
    from gdn_ops.tuner.interruption import Interruption
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.workers.kernel_check import check_kernels

    target, interruption = target_named(KERNEL_TARGET), Interruption()
    problem = max(problems, key=lambda problem: (problem.dtype == "bf16", problem.tokens))
    console.say(f"No GPU here. The Triton kernels for {target.name}, by their defaults, untimed:")
    with interruption.listen():
        for checked in check_kernels(
            problem, target, seconds=KERNEL_SECONDS, workers=cores(),
            interruption=interruption,
        ):  # fmt: skip
            console.say(f"  {checked.plan} {checked.stage}: {checked.what}")
    console.say(f"`gdn compile --target {target.name}` shows more of this.")


def _print(request: Request, result: Result) -> None:
    """The winners as a table, what failed, and what to do next."""
    from gdn_ops.codegen.variant import Variant
    from gdn_ops.seconds import seconds_text
    from gdn_ops.tuner.report import console

    by_id = {problem.id(): problem for problem in request.problems}
    rows = []
    for problem_id, winner in result.winners.items():
        variant = Variant.from_json(winner.variant, by_id[problem_id])
        rows.append(
            (
                problem_id,
                str(variant),
                seconds_text(winner.median),
                f"{seconds_text(winner.low)} .. {seconds_text(winner.high)}",
                seconds_text(winner.reference),
                "-" if winner.speedup is None else f"{winner.speedup:.2f}x",
            )
        )
    if rows:
        columns = ("problem", "winner", "median>", "95 % interval>", "reference>", "speed-up>")
        console.table(columns, rows)
    for problem_id, why in result.failures.items():
        console.fail(f"{problem_id}: {why}")
    console.say(f"Stored in {request.database}")
    if result.interrupted:
        console.say("Interrupted; the same command goes on from here.")
    elif rows:
        console.say("Next: `gdn show` lists the winners, `gdn explain` says what a call runs on.")
