"""A tuning session: opens what a campaign needs, for a device and a database, and runs it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput, LaunchError
from gdn_ops.codegen.private_folder import ensure_folder
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import cpu_target
from gdn_ops.dispatch import this_machine
from gdn_ops.dispatch.winner import Winner
from gdn_ops.results_path import cache_folder, databases
from gdn_ops.results_url import Location
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.campaign import Result, run_campaign
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.cores import thread_count as thread_count
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.measure.fingerprint import fingerprint
from gdn_ops.tuner.report.counted import counted
from gdn_ops.tuner.report.progress import Note, View
from gdn_ops.tuner.search.asked_providers import Asked
from gdn_ops.tuner.search.retiming import stale_winners
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.search.time_shares import time_shares
from gdn_ops.tuner.search.trial_runner import Context
from gdn_ops.tuner.spaces.space import plans_for, why_no_plan
from gdn_ops.tuner.store.db import open_database
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.store.winner_tables import load_winners
from gdn_ops.tuner.workers.harness import WorkerHarness

PROBE_BYTES = 1 << 16

MAX_WIDTH = 32
"""Most configs that a strategy is asked for at once; it learns nothing from one to the next."""
COMPILED_PER_TIMED = 4
"""Configs that are compiled for each one that a GPU times. While the GPU times two configs, 16 CPU
cores compile eight."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for.

    Args:
        workload: the name under which the run is stored.
        problems: buckets, as ``Problem.bucket`` gives them.
        device: a torch device, or ``auto`` for the first GPU, else the CPU.
        minutes: for all problems together; None for no limit.
        threads: CPU threads; None for PyTorch's default.
        counts: calls of each problem by its id, to share the time by; None: all are tuned equally
            long.
        stale: tune only the problems whose winner is stale, and first time its top variants again;
            without problems all that have a stale winner on the device.
        providers: the providers to compare with.
    """

    workload: str
    problems: Sequence[Problem]
    database: Location
    device: str = "auto"
    minutes: float | None = None
    threads: int | None = None
    counts: Mapping[str, int] | None = None
    stale: bool = False
    providers: Asked = field(default_factory=Asked)
    options: Options


def tune(request: Request, view: View) -> Result:
    """Run a campaign as requested and show its progress in a view.

    Must be called from the main thread, because it handles SIGINT and SIGTERM.

    Raises:
        InvalidInput: this machine does not have the device or as many cores as threads, or none of
            the plans that were asked for can run one of the problems.
        LaunchError: the cache of rendered modules cannot be written.
        ResultsError: the database cannot be opened or written.
    """
    device = device_named(request.device)
    threads = thread_count(request.threads)
    target = _target(device, threads)
    if not request.stale:
        require_plan(request.problems, target, request.options.plans)
    require_room(cache_folder())  # if the cache cannot be written, every child process would fail
    interruption = Interruption()
    with (
        open_database(request.database, create=True) as database,
        interruption.listen(),
    ):
        store = Store(database, warn=lambda text: view(Note(text=text)))
        environment = fingerprint(device, arch=target.arch, threads=threads)
        stale = stale_problems(request, target, environment.driver) if request.stale else None
        if stale is not None:
            request = replace(request, problems=problems_of(stale), counts=None)
        run = store.start_run(
            request.workload,
            target.name,
            seed=request.options.seed,
            options=recorded_options(request),
        )
        harness = WorkerHarness(
            target, device, threads=threads, compilers=cores(), interruption=interruption
        )
        context = Context(
            store=store,
            harness=harness,
            target=target,
            environment=store.add_environment(environment),
            run=run,
            report=view,
            providers=request.providers,
        )
        options = replace(
            request.options,
            width=min(MAX_WIDTH, 2 * cores()) if target.gpu else 1,
            compiled_per_timed=COMPILED_PER_TIMED if target.gpu else 1,
        )
        try:
            with view:
                problems, shares = shared_time(request, target, view)
                return run_campaign(
                    problems,
                    context,
                    options=options,
                    interruption=interruption,
                    minutes=request.minutes,
                    shares=shares,
                    stale=stale,
                )
        finally:
            harness.close()


def require_plan(problems: Sequence[Problem], target: Target, plans: Sequence[str]) -> None:
    """Raise InvalidInput if none of the plans that were asked for can run one of the problems."""
    if not plans or any(plans_for(problem, target, plans) for problem in problems):
        return
    first, *others = problems
    noun = "plan" if len(plans) == 1 else "any of the plans"
    also = f", nor {counted(len(others), 'other problem')}" * bool(others)
    raise InvalidInput(
        f"--plans {','.join(plans)}: {first.id()} cannot run on {noun} {', '.join(plans)} on "
        f"{target.name}{also}: {'; '.join(why_no_plan(first, target, plans))}. Leave out --plans, "
        f"or give {' or '.join(plans_for(first, target)) or 'another problem'}."
    )


def stale_problems(request: Request, target: Target, driver: str | None) -> dict[str, Winner]:
    """The stale winners of the target, those of the requested problems if there are any."""
    table = load_winners(dict.fromkeys((request.database, *databases())))
    found = stale_winners(table, target.name, driver)
    wanted = {problem.id() for problem in request.problems} or set(found)
    return {name: winner for name, winner in found.items() if name in wanted}


def problems_of(winners: Mapping[str, Winner]) -> list[Problem]:
    """The problems that winners were tuned for."""
    return [Problem.from_facts(winner.facts) for winner in winners.values()]


def shared_time(
    request: Request, target: Target, view: View
) -> tuple[Sequence[Problem], dict[str, float] | None]:
    """The problems in the order in which they are tuned, and the share of each if they differ."""
    if request.counts is None:
        return request.problems, None
    table = load_winners(dict.fromkeys((request.database, *databases())))
    found = time_shares(request.problems, request.counts, target, table)
    for each in found:
        how = "measured" if each.measured else "about"
        text = (
            f"{each.share:.0%} of the time: {each.problem.id()}, {counted(each.count, 'call')}, "
            f"{how} {seconds_text(each.seconds)} each"
        )
        view(Note(text=text))
    return [each.problem for each in found], {each.problem.id(): each.share for each in found}


def device_named(name: str) -> str:
    """The torch device of a name; ``auto`` is the first GPU, else the CPU.

    Raises:
        InvalidInput: this machine has no such device.
    """
    count = _gpu_count()
    known = ["cpu", *(f"cuda:{i}" for i in range(count))]
    if name == "auto":
        return known[min(1, count)]
    name = "cuda:0" if name == "cuda" else name
    if name not in known:
        raise InvalidInput(
            f"device {name!r} is not in this machine, which has {', '.join(known)}; choose one of "
            "these, or --device auto."
        )
    return name


def require_room(folder: Path) -> None:
    """Raise LaunchError unless 64 KiB can be written to a cache folder and read back.

    Random bytes are written, because a full disk still accepts an empty file.
    """
    ensure_folder(folder)
    written = os.urandom(PROBE_BYTES)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            sound = file.read() == written
    except OSError as error:
        raise LaunchError(
            f"cannot write {PROBE_BYTES} bytes to {folder}, the cache of kernels: {error}; "
            "free some space or set GDN_CACHE_DIR to another folder."
        ) from error
    if not sound:
        raise LaunchError(
            f"the bytes read from {folder} are not those that were written: its disk is damaged; "
            "set GDN_CACHE_DIR to a folder on another disk."
        )


def _gpu_count() -> int:
    if not this_machine.has_gpu():
        return 0
    import torch

    return torch.cuda.device_count()


def _target(device: str, threads: int) -> Target:
    if device == "cpu":
        return cpu_target(this_machine.cpu_arch(), threads=threads)
    import torch

    from gdn_ops.dispatch.device import target_of

    return target_of(torch.device(device))


def recorded_options(request: Request) -> dict[str, Any]:
    """The options as the run's row keeps them: JSON, and no path of this machine."""
    options = {
        k: v for k, v in asdict(request.options).items() if k not in ("width", "compiled_per_timed")
    }
    return {
        **options,
        "device": request.device,
        "minutes": request.minutes,
        "threads": request.threads,
        "providers": asdict(request.providers),
        "problems": [problem.id() for problem in request.problems],
    }
