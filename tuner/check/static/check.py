"""The static check: compile what ships and compare it with the baselines, or write them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from gdn_ops.codegen.errors import ResultsError
from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.check.outcome import CheckRow, Outcome
from gdn_ops.tuner.check.static.baseline import (
    FOLDER,
    Baseline,
    baseline_file,
    check_folder,
    read_baseline,
    write_baseline,
)
from gdn_ops.tuner.check.static.builds import Builds
from gdn_ops.tuner.check.static.comparison import Comparison
from gdn_ops.tuner.check.static.compiler import Compiler, OtherTriton, compilers, other_triton
from gdn_ops.tuner.check.static.compiling import SECONDS
from gdn_ops.tuner.check.static.figures import reader_hash
from gdn_ops.tuner.check.static.rows import across_row
from gdn_ops.tuner.check.static.rules import Limits
from gdn_ops.tuner.check.static.shipping import GPUS
from gdn_ops.tuner.check.static.today import Today
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.workers.worker_pool import WorkerPool

HEAD = "working tree"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is compiled, and by how much.

    Args:
        problems: whose default variants, by name; None for ``shipping.PROBLEMS``.
        workers: child processes; None for one per core.
        seconds: time limit for one kernel.
    """

    problems: dict[str, Problem] | None = None
    workers: int | None = None
    seconds: float = SECONDS

    def todays(self, archs: Iterable[str]) -> list[Today]:
        return [Today.of(arch, self.problems) for arch in dict.fromkeys(archs)]

    def pool(self, env: Mapping[str, str] | None = None) -> WorkerPool:
        return WorkerPool(self.workers or cores(), threads=1, env=env)


def check_static(
    archs: Iterable[str] = tuple(GPUS),
    *,
    folder: Path = FOLDER,
    base: Path | None = None,
    limits: Limits | None = None,
    tritons: Sequence[Path] = (),
    everything: bool = False,
    any_compiler: bool = False,
    work: Work | None = None,
) -> Outcome:
    """Compare what ships today with the baselines. Nothing is timed, and no GPU is needed.

    A kernel whose code, arguments, configuration and compiler are those of the baseline has its
    figures too, and is not compiled. Ctrl-C ends the compiling; the rows are then those of the
    kernels that were compiled.

    Args:
        archs: architectures, e.g. ``sm_90``.
        folder: holds a baseline per architecture.
        base: a folder with the ``gdn_ops`` that the baselines were made of. It is read where both
            source and compiler changed, to tell their effects apart. Default: the revision in
            which the baseline was last committed.
        limits: what may get worse.
        tritons: folders that each hold a package ``triton``; the kernels are compiled by these
            too, and compared with those of the installed Triton.
        everything: compile also what is the same as in the baseline.
        any_compiler: compare also with a baseline of another Triton or ptxas; otherwise its
            rows say so and are skipped.
        work: what is compiled, and by how much.

    Raises:
        UnknownName: an architecture has no GPU that represents it.
        ResultsError: a baseline is missing or cannot be used.
        InvalidInput: a folder of ``tritons`` holds no supported Triton, or Triton is not installed.
    """
    clock, work, limits = _Clock(), work or Work(), limits or Limits()
    others = [other_triton(path) for path in tritons]
    todays = work.todays(archs)
    baselines = {t.arch: read_baseline(baseline_file(folder, t.arch), t.arch) for t in todays}
    with work.pool() as pool:
        found = compilers(pool, baselines)
        builds = Builds(pool, work.seconds)
        comparisons = [_comparison(t, baselines[t.arch], found, limits) for t in todays]
        rows: list[CheckRow] = []
        for comparison in comparisons:
            if comparison.same_compiler or any_compiler:
                if not everything:
                    builds.known(comparison.proven)
                rows += _compare(comparison, builds, folder, base)
            else:
                rows += comparison.skipped()
        if others:
            builds.compile(kernel for today in todays for kernel in today.kernels)
    for other in others:
        rows += _side_by_side(todays, builds, found, other, limits, work)
    notes = [note for comparison in comparisons for note in _notes(comparison)]
    return clock.outcome(rows, found, folder, notes, interrupted=builds.interrupted)


def update(
    archs: Iterable[str] = tuple(GPUS),
    *,
    folder: Path = FOLDER,
    base: Path | None = None,
    limits: Limits | None = None,
    work: Work | None = None,
) -> Outcome:
    """Compile what ships today and write it to the baselines; the rows say what changed.

    A baseline is left as it was if one of its kernels does not compile or cannot be read, or if
    Ctrl-C ended the compiling; a note says so. Arguments as of ``check_static``.

    Raises:
        UnknownName: an architecture has no GPU that represents it.
        ResultsError: a baseline cannot be written.
        InvalidInput: Triton is not installed.
    """
    clock, work, limits = _Clock(), work or Work(), limits or Limits()
    check_folder(folder)
    todays = work.todays(archs)
    rows: list[CheckRow] = []
    notes: list[str] = []
    with work.pool() as pool:
        found = compilers(pool, [today.arch for today in todays])
        builds = Builds(pool, work.seconds)
        for today in todays:
            path, compiler = baseline_file(folder, today.arch), found[today.arch]
            try:
                baseline = read_baseline(path, today.arch)
            except ResultsError as error:
                notes.append(str(error))
                baseline = _empty(today, compiler)
            comparison = _comparison(today, baseline, found, limits)
            rows += _compare(comparison, builds, folder, base)
            notes += [*today.notes, _written(today, builds, compiler, path)]
    return clock.outcome(rows, found, folder, notes, interrupted=builds.interrupted)


def _comparison(
    today: Today, baseline: Baseline, found: Mapping[str, Compiler], limits: Limits
) -> Comparison:
    return Comparison(today=today, baseline=baseline, compiler=found[today.arch], limits=limits)


def _compare(
    comparison: Comparison, builds: Builds, folder: Path, base: Path | None
) -> list[CheckRow]:
    builds.compile(comparison.today.kernels)
    try:
        comparison.tell_apart(builds, base, baseline_file(folder, comparison.today.arch))
    except KeyboardInterrupt:
        builds.interrupted = True
    return comparison.rows(builds)


def _side_by_side(
    todays: Sequence[Today],
    builds: Builds,
    found: Mapping[str, Compiler],
    other: OtherTriton,
    limits: Limits,
    work: Work,
) -> list[CheckRow]:
    """The kernels compiled by another Triton, against those of the installed one."""
    with work.pool(other.environment) as pool:
        theirs = compilers(pool, found, expected=other)
        built = Builds(pool, work.seconds)
        built.compile(kernel for today in todays for kernel in today.kernels)
    builds.interrupted |= built.interrupted
    rows = []
    for today in todays:
        versions = (found[today.arch].triton, theirs[today.arch].triton)
        for kernel in today.kernels:
            own, its = builds.of(kernel), built.of(kernel)
            if own is not None and its is not None:
                rows.append(across_row(kernel, own, its, versions=versions, limits=limits))
    return rows


def _empty(today: Today, compiler: Compiler) -> Baseline:
    return Baseline(
        arch=today.arch, compiler=compiler, reader=reader_hash(today.target), kernels={},
        variants={},
    )  # fmt: skip


def _written(today: Today, builds: Builds, compiler: Compiler, path: Path) -> str:
    if builds.interrupted:
        return f"{path} was not written, because not every kernel was compiled"
    built = builds.by_key(today)
    without = [kernel.name for kernel in today.kernels if not built[kernel.key].figures]
    if without:
        return f"{path} was not written, because {', '.join(without)} did not compile"
    write_baseline(today.baseline(built, compiler), path)
    return f"wrote {path}"


def _notes(comparison: Comparison) -> list[str]:
    notes, arch = list(comparison.today.notes), comparison.today.arch
    if not comparison.same_compiler:
        notes.append(
            f"the baseline of {arch} was made with {comparison.baseline.compiler}, and this is "
            f"{comparison.compiler}"
        )
    if not comparison.same_reader:
        notes.append(
            f"the code that reads compiled kernels has changed since the baseline of {arch} was "
            "made, so that every kernel was compiled; `gdn check --static --update` writes it again"
        )
    return notes


class _Clock:
    """When a check started, for its outcome."""

    def __init__(self) -> None:
        self._start, self._now = time.monotonic(), datetime.now(timezone.utc)

    def outcome(
        self,
        rows: Iterable[CheckRow],
        found: Mapping[str, Compiler],
        folder: Path,
        notes: Iterable[str],
        *,
        interrupted: bool,
    ) -> Outcome:
        ptxas = {f"ptxas for {arch}": c.ptxas for arch, c in found.items() if c.ptxas}
        tritons = {compiler.triton for compiler in found.values()}
        return Outcome(
            kind="static",
            base=str(folder),
            head=HEAD,
            environment={"triton": ", ".join(sorted(tritons)), **ptxas},
            rows=tuple(rows),
            started=self._now.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self._start,
            interrupted=interrupted,
            notes=tuple(notes),
        )
