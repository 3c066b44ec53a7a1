"""``gdn check``: whether a change made kernels slower, measured or by their compiled code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.check_exit import ending_with_usage, exit_code
from gdn_ops.tuner.cli.check_static import check_static
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.numbers import above_zero
from gdn_ops.tuner.cli.shared_options import with_options

if TYPE_CHECKING:
    from gdn_ops.tuner.check.baseline_file import Run
    from gdn_ops.tuner.check.outcome import Outcome
    from gdn_ops.tuner.check.settings import Settings


DEFAULT_SECONDS = 0.2
"""Samples per process and problem."""


@with_options(model=ModelOptions)
def check(
    workload: Annotated[
        str | None,
        typer.Argument(
            help="A workload as for `gdn tune`, or a JSON or TOML file of problems; by default the "
            "problems that have winners for the device."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="What to compare with: a git revision, a folder, a wheel or a file of --save. "
            "Default: the commit at which HEAD left the main branch. Static: the code that the "
            "baselines were made from, to tell causes apart."
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(help="What to check, given like --base. Default: the working tree."),
    ] = None,
    static: Annotated[
        bool,
        typer.Option("--static", help="Compare compiled code with baselines; needs no GPU."),
    ] = False,
    report: Annotated[
        list[str] | None,
        typer.Option(
            help="Also write a report, FORMAT=FILE: junit, json, markdown, benchmark-action, "
            "bencher, pytorch; or github, which has no file. May be repeated."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Thresholds and exemptions. Default: gdn-check.toml, if it exists."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 3 if a row could not be compared.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also measure or compile what did not change.")
    ] = False,
    threshold: Annotated[
        str | None,
        typer.Option(help="Measured: how much slower is a regression. Default: 3%."),
    ] = None,
    floor: Annotated[
        str | None,
        typer.Option(
            help="Measured: slower by more than this must be certain; 1% suits a noisy machine. "
            "Default: 0%."
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(help="Measured: auto (the first GPU, else the CPU), cpu or cuda:0."),
    ] = "auto",
    db: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Measured: results database of both sides; a relative path is looked up in the "
            "folder of each side.",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Measured: CPU threads; PyTorch's default if left out."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Measured: seconds of samples per process and problem. Default: "
            f"{DEFAULT_SECONDS}."
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            help="Measured: add the samples of the head to a file, for a later --base. Implies "
            "--all."
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Static: an architecture or a GPU of it, e.g. sm_90 or h200; may be repeated. "
            "Default: all."
        ),
    ] = None,
    triton: Annotated[
        list[Path] | None,
        typer.Option(
            help="Static: a folder with another Triton, to compare it with the installed one; may "
            "be repeated."
        ),
    ] = None,
    any_compiler: Annotated[
        bool,
        typer.Option(
            "--any-compiler", help="Static: compare also with baselines of another Triton or ptxas."
        ),
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Static: write the baselines of the current code.")
    ] = False,
    *,
    model: ModelOptions,
) -> Answer:
    """Check whether a change made kernels slower.

    Without --static, base and head are timed on this machine, in pairs of fresh processes, until it
    is certain which problems are slower. What is the same on both sides is not timed. The head's
    results are verified first. Exit codes: 0 if nothing is worse, 1 if something is slower, wrong
    or crashed, 2 for a wrong command line or file, 3 (--strict) if something could not be compared.

    With --static, the kernels are compiled for GPUs that this machine need not have, and their
    registers, spills, instructions, launches, memory traffic and races are compared with
    baselines/static/*.json.

    Examples:

        gdn check

        gdn check decode --base v1.2 --report junit=check.xml --report markdown=check.md

        gdn check --static --target sm_90
    """
    from gdn_ops.results_path import expanded
    from gdn_ops.tuner.check.outputs import Outputs
    from gdn_ops.tuner.check.reports.json_report import fields
    from gdn_ops.tuner.check.reports.request import requests_of
    from gdn_ops.tuner.interruption import Interruption

    _refuse_mixed(
        static,
        measured={
            "WORKLOAD": workload, "--head": head, "--threshold": threshold, "--floor": floor,
            "--db": db, "--threads": threads, "--seconds": seconds, "--save": save,
            "--device": None if device == "auto" else device,
            **dict.fromkeys(model.given(), True),
        },
        compiled={
            "--target": target, "--triton": triton, "--any-compiler": any_compiler,
            "--update": update,
        },
    )  # fmt: skip
    with ending_with_usage():
        save = None if save is None else expanded(save, "--save")
        read = {
            "--base": base, "--head": head, "--config": config, "--db": db, "WORKLOAD": workload,
            "--model": model.model,
        }  # fmt: skip
        outputs = Outputs(requests_of(report or ()), save, read)
        settings = _settings(config, threshold=threshold, floor=floor)
        problems = _problems(workload, model)
        if static:
            outcome, run = check_static(
                settings, base=base, targets=target or (), tritons=triton or (), update=update,
                everything=everything, any_compiler=any_compiler,
            ), None  # fmt: skip
        else:
            outcome, run = _measured(
                settings, problems=problems, base=base, head=head, device=device, db=db,
                threads=threads, seconds=DEFAULT_SECONDS if seconds is None else seconds,
                everything=everything, save=save,
            )  # fmt: skip
        interruption = Interruption()
        with interruption.listen():  # what was measured is reported in any case
            every_row = problems is None and not target
            outcome = _judged(outcome, settings, strict=strict, every_row=every_row)
            failures = outputs.write(outcome, run)
            code = exit_code(outcome, failures, interruption.requested)
            return Answer(code, {"outcome": fields(outcome), "failures": failures})


def _refuse_mixed(
    static: bool, *, measured: dict[str, object], compiled: dict[str, object]
) -> None:
    """Refuse options that the chosen kind of check does not read."""
    unread = measured if static else compiled
    if given := [name for name, value in unread.items() if value not in (None, False, [])]:
        with_or_without = "without" if static else "with"
        raise InvalidInput(
            f"{', '.join(given)} is only read {with_or_without} --static; leave it out."
        )


def _problems(workload: str | None, model: ModelOptions) -> list[dict[str, Any]] | None:
    """The facts of the problems that were named; None if none were."""
    from gdn_ops.tuner.spaces.workloads import buckets

    chosen = model.workload(workload)
    return None if chosen is None else [problem.facts() for problem in buckets(chosen.problems)]


def _settings(config: Path | None, *, threshold: str | None, floor: str | None) -> Settings:
    """The settings of the repository, with what the command line says instead."""
    from dataclasses import replace

    from gdn_ops.tuner.check.gate import Limits
    from gdn_ops.tuner.check.percentage import percentage
    from gdn_ops.tuner.check.repository import Repository
    from gdn_ops.tuner.check.settings_file import settings_of

    repository = Repository.around(Path.cwd())
    settings = settings_of(config, Path.cwd() if repository is None else repository.root)
    if threshold is not None:
        settings = replace(settings, threshold=percentage(threshold, of="--threshold"))
    if floor is not None:
        settings = replace(settings, floor=percentage(floor, of="--floor"))
    Limits(threshold=settings.threshold, floor=settings.floor)  # refuses what cannot be both
    return settings


def _measured(
    settings: Settings,
    *,
    problems: list[dict[str, Any]] | None,
    base: str | None,
    head: str | None,
    device: str,
    db: str | None,
    threads: int | None,
    seconds: float,
    everything: bool,
    save: Path | None,
) -> tuple[Outcome, Run | None]:
    from gdn_ops.results_path import local_path
    from gdn_ops.tuner.check.measured import check_measured
    from gdn_ops.tuner.check.measured_check import Request
    from gdn_ops.tuner.cores import thread_count
    from gdn_ops.tuner.report import console

    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise InvalidInput(f"--device is {shown(device)}; give auto, cpu or cuda:N, e.g. cuda:0.")
    request = Request(
        base=base,
        head=head,
        problems=problems,
        device=device,
        database=None if db is None else local_path(db, "--db"),
        threads=None if threads is None else thread_count(threads),
        seconds=above_zero("--seconds", seconds),
        limits=lambda target, name: settings.limits(name, target),
        everything=everything or save is not None,
        save=save,
    )
    return check_measured(request, say=console.remark)


def _judged(outcome: Outcome, settings: Settings, *, strict: bool, every_row: bool) -> Outcome:
    """The outcome under the settings of the repository."""
    from dataclasses import replace
    from datetime import date

    from gdn_ops.tuner.check.exempting import exempted

    outcome = replace(outcome, strict=strict)
    return exempted(outcome, settings, today=date.today(), every_row=every_row)
