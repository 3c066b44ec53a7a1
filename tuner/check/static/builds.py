"""Builds: compiling the kernels of one or several architectures in child processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gdn_ops.codegen.compiled.compile import Source
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.check.static.compiling import SECONDS, Built, compile_job, compiled
from gdn_ops.tuner.check.static.kernel import Kernel, Key
from gdn_ops.tuner.check.static.today import Pair, Today
from gdn_ops.tuner.workers.worker_pool import WorkerPool


@dataclass
class Builds:
    """Compiles kernels, each once.

    Args:
        pool: the workers that compile, all with the same Triton.
        seconds: time limit for one kernel.
        interrupted: whether Ctrl-C ended the compiling; what was not compiled has no result.
    """

    pool: WorkerPool
    seconds: float = SECONDS
    interrupted: bool = False
    _found: dict[tuple[str, Key], Built] = field(default_factory=dict)

    def known(self, pairs: Iterable[Pair]) -> None:
        """Take the figures of kernels that are what they were from their baseline."""
        for pair in pairs:
            if pair.base is not None:
                self._found[_name(pair.head)] = Built(figures=pair.base.figures)

    def compile(self, kernels: Iterable[Kernel]) -> None:
        """Compile the kernels that have no result yet; none after Ctrl-C."""
        if self.interrupted:
            return
        wanted = {_name(k): k for k in kernels if _name(k) not in self._found}
        jobs = (
            compile_job(
                name, kernel.source, kernel.target,
                values=f"{kernel.config} {kernel.options}", seconds=self.seconds,
            )
            for name, kernel in wanted.items()
        )  # fmt: skip
        try:
            for name, built in compiled(self.pool, jobs):
                self._found[name] = built
        except KeyboardInterrupt:
            self.interrupted = True

    def sources(self, sources: Mapping[str, tuple[Source, Target]]) -> dict[str, Built]:
        """Compile sources of another revision; the results by the given names."""
        jobs = (
            compile_job(name, source, target, values="the base's", seconds=self.seconds)
            for name, (source, target) in sources.items()
        )
        return {} if self.interrupted else dict(compiled(self.pool, jobs))

    def of(self, kernel: Kernel) -> Built | None:
        """What became of a kernel; None if it was not compiled."""
        return self._found.get(_name(kernel))

    def by_key(self, today: Today) -> dict[Key, Built]:
        """The results of an architecture's kernels."""
        found = {kernel.key: self.of(kernel) for kernel in today.kernels}
        return {key: built for key, built in found.items() if built is not None}


def _name(kernel: Kernel) -> tuple[str, Key]:
    return (kernel.target.arch, kernel.key)
