"""``gdn tune``: find, verify and store the fastest variants of a workload's problems."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem

INTERRUPTED = 130

KERNEL_TARGET, KERNEL_SECONDS = "h200", 40.0
"""For what and for how long the Triton kernels are looked at where there is no GPU."""


def tune(
    workload: Annotated[
        str | None,
        typer.Argument(
            help="quickstart (the default), prefill, decode, qwen3.5, tiny, or a JSON or TOML "
            "file with a list `problems`."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:0.")] = "auto",
    db: Annotated[
        Path | None, typer.Option(help="Results database; GDN_RESULTS_DB or your own otherwise.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Time for all problems; 0 for no limit.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="New configs tried in each space.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads of a CPU.")] = None,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    again: Annotated[bool, typer.Option("--again", help="Tune finished problems further.")] = False,
    plans: Annotated[
        str, typer.Option(help="Only these plans, e.g. split,recurrent. All by default.")
    ] = "",
    strategy: Annotated[str, typer.Option(help="auto, enumeration or tpe.")] = "auto",
    H: Annotated[int | None, typer.Option("--H", help="Query/key heads of one problem.")] = None,
    HV: Annotated[int | None, typer.Option("--HV", help="Value heads; H by default.")] = None,
    K: Annotated[int | None, typer.Option("--K", help="Head dim of queries and keys.")] = None,
    V: Annotated[int | None, typer.Option("--V", help="Head dim of values; K by default.")] = None,
    dtype: Annotated[str | None, typer.Option(help="bf16, fp16 or fp32.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Tokens of the whole call.")] = None,
    sequences: Annotated[int | None, typer.Option(help="Independent sequences.")] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="One token a sequence instead of a prefill.")
    ] = False,
    varlen: Annotated[bool, typer.Option("--varlen", help="Packed sequences.")] = False,
    gate: Annotated[str | None, typer.Option(help="scalar or none.")] = None,
    initial_state: Annotated[bool, typer.Option("--initial-state", help="One comes in.")] = False,
    final_state: Annotated[bool, typer.Option("--final-state", help="One goes out.")] = False,
) -> int:
    """Find the fastest right kernel variant of each problem and store it.

    Every variant is checked against the rule in fp64 before it is timed; every trial is kept.
    Ctrl-C keeps what is known; the same command goes on from there.

    Examples:

        gdn tune

        gdn tune qwen3.5 --minutes 60

        gdn tune --H 16 --HV 32 --K 128 --dtype bf16 --tokens 4096 --final-state
    """
    given = {
        "H": H, "HV": HV or H, "K": K, "V": V or K, "dtype": dtype, "tokens": tokens,
        "sequences": sequences, "op": "decode" if decode else None, "gate": gate,
        "varlen": varlen or None, "initial_state": initial_state or None,
        "final_state": final_state or None,
    }  # fmt: skip
    facts = {name: value for name, value in given.items() if value is not None}
    chosen = _workload(workload, facts)
    for option, number in (("--minutes", minutes), ("--trials", trials)):
        if number is not None and number < 0:
            raise InvalidInput(f"{option} is {number}; give 0 or more.")

    from gdn_ops.results_path import user_database
    from gdn_ops.tuner import console, session
    from gdn_ops.tuner.search import Options
    from gdn_ops.tuner.workloads import buckets

    limit = chosen.minutes if minutes is None else minutes
    request = session.Request(
        workload=chosen.name,
        problems=buckets(chosen.problems),
        database=(db or user_database()).expanduser().absolute(),
        device=device,
        minutes=limit or None,
        threads=threads,
        options=Options(
            trials=chosen.trials if trials is None else trials,
            strategy=_strategy(strategy),
            seed=seed,
            plans=_plans(plans),
            again=again,
        ),
    )
    result = session.tune(request, console.progress_view())
    _print(request, result)
    if result.interrupted:
        return INTERRUPTED
    if chosen.check_kernels and session.device_named(device) == "cpu":
        _check_kernels(chosen.problems)
    return 0 if result.winners or not result.failures else 1


def _workload(name: str | None, facts: dict[str, Any]) -> Any:
    """The workload that was named, or the single problem that was described."""
    from gdn_ops.tuner.workloads import Workload, problem_of, workload_named

    if name is not None and facts:
        raise InvalidInput(
            f"the workload {name!r} and a problem ({', '.join(facts)}) are given; leave one out."
        )
    if not facts:
        return workload_named(name or "quickstart")
    problem: Problem = problem_of(facts)
    return Workload(problem.id(), "one problem", (problem,), minutes=10.0)


def _plans(text: str) -> tuple[str, ...]:
    from gdn_ops.codegen.variant import plan_named

    return tuple(plan_named(name.strip()).name for name in text.split(",") if name.strip())


def _strategy(name: str) -> str:
    from gdn_ops.codegen.errors import UnknownName
    from gdn_ops.tuner.strategies import AUTO, STRATEGIES

    if name not in (AUTO, *STRATEGIES):
        raise UnknownName.of("strategy", name, (AUTO, *STRATEGIES))
    return name


def _check_kernels(problems: Sequence[Problem]) -> None:
    """Show the half of the job that needs no GPU: the Triton kernels interpreted and compiled."""
    from gdn_ops.codegen.targets import target_named
    from gdn_ops.tuner import console, session
    from gdn_ops.tuner.interruption import Interruption
    from gdn_ops.tuner.kernel_check import check_kernels

    target, interruption = target_named(KERNEL_TARGET), Interruption()
    problem = max(problems, key=lambda problem: (problem.dtype == "bf16", problem.tokens))
    console.say(f"No GPU here. The Triton kernels for {target.name}, by their defaults, untimed:")
    with interruption.listen():
        for checked in check_kernels(
            problem, target, seconds=KERNEL_SECONDS, workers=session.cores(),
            interruption=interruption,
        ):  # fmt: skip
            console.say(f"  {checked.plan} {checked.stage}: {checked.what}")
    console.say(f"`gdn compile --target {target.name}` shows more of this.")


def _print(request: Any, result: Any) -> None:
    """The winners as a table, what failed, and what to do next."""
    from gdn_ops.codegen.variant import Variant
    from gdn_ops.tuner import console
    from gdn_ops.tuner.progress import seconds_text

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
