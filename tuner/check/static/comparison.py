"""Comparison: what ships for one architecture against its baseline."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from gdn_ops.codegen.compiled.compile import Source
from gdn_ops.tuner.check.outcome import CheckRow, Difference
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.check.static.baseline import Baseline
from gdn_ops.tuner.check.static.builds import Builds
from gdn_ops.tuner.check.static.cause import (
    COMPILER,
    TEMPLATE,
    cause,
    changed,
    joined,
    rendered_again,
)
from gdn_ops.tuner.check.static.compiler import Compiler
from gdn_ops.tuner.check.static.compiling import Built
from gdn_ops.tuner.check.static.figures import reader_hash
from gdn_ops.tuner.check.static.old_source import base_folder, old_sources
from gdn_ops.tuner.check.static.rows import compared, kernel_row, removed_row, skipped_row
from gdn_ops.tuner.check.static.rules import Limits, differing
from gdn_ops.tuner.check.static.shipping import Shipped
from gdn_ops.tuner.check.static.today import Pair, Today


@dataclass(kw_only=True)
class Comparison:
    """What ships for one architecture against its baseline.

    Args:
        compiler: today's.
        limits: what may get worse.
    """

    today: Today
    baseline: Baseline
    compiler: Compiler
    limits: Limits
    _old: dict[str, Built] = field(default_factory=dict)

    @cached_property
    def pairs(self) -> list[Pair]:
        return self.today.pairs(self.baseline)

    @property
    def same_compiler(self) -> bool:
        return self.baseline.compiler == self.compiler

    @property
    def same_reader(self) -> bool:
        """Whether the baseline's figures were read as they would be today."""
        return self.baseline.reader == reader_hash(self.today.target)

    @property
    def proven(self) -> list[Pair]:
        """The pairs whose figures must be equal, as nothing that decides them has changed."""
        known = self.same_compiler and self.same_reader
        return [pair for pair in self.pairs if known and pair.same]

    def tell_apart(self, builds: Builds, base: Path | None, file: Path) -> None:
        """Compile the old source where source and compiler both changed and figures differ.

        Args:
            base: a folder with the gdn_ops of the baseline; None for the revision in which the
                baseline's ``file`` was last committed.
        """
        wanted = [pair for pair in self.pairs if self._both_changed(pair, builds)]
        if not wanted:
            return
        sources: dict[str, Source] = {}
        missing: list[Pair] = []
        for pair in wanted:
            assert pair.base is not None
            again = rendered_again(pair.base, pair.head)
            if again is None:
                missing.append(pair)
            else:
                sources[pair.head.name] = again
        sources |= _from_base(missing, base, file)
        target = self.today.target
        self._old = builds.sources({name: (source, target) for name, source in sources.items()})

    def rows(self, builds: Builds) -> list[CheckRow]:
        """The rows of kernels, then of variants, then of what no longer ships."""
        kernels = [self._kernel(pair, builds) for pair in self.pairs]
        variants = [self._variant(shipped) for shipped in self.today.variants]
        return [*filter(None, kernels), *variants, *self._removed()]

    def skipped(self) -> list[CheckRow]:
        """Rows that say that nothing is compared, because the compiler is another one."""
        message = (
            f"the baseline was made with {self.baseline.compiler}, and this is {self.compiler}; "
            "compare anyway with --any-compiler, or write the baseline again with --update"
        )
        return [skipped_row(kernel, message) for kernel in self.today.kernels]

    def _kernel(self, pair: Pair, builds: Builds) -> CheckRow | None:
        built = builds.of(pair.head)
        if built is None:
            return None
        return kernel_row(
            pair.head, pair.base, built, cause_of=lambda figure: self._cause(figure, pair, built),
            limits=self.limits, same=pair.same and self.same_compiler,
        )  # fmt: skip

    def _variant(self, shipped: Shipped) -> CheckRow:
        head, base = self.today.record(shipped), self.baseline.variants.get(shipped.name)
        state, message = State.NEW, ""
        differences: tuple[Difference, ...] = ()
        if base is not None:
            same = (base.problem, set(base.kernels)) == (head.problem, set(head.kernels))
            state, message, differences = compared(
                base.figures, head.figures, cause_of=lambda _: self._variant_cause(shipped),
                limits=self.limits, same=same,
            )  # fmt: skip
        return CheckRow(
            target=self.today.arch,
            op=shipped.problem.op,
            name=shipped.name,
            dtype=shipped.problem.dtype,
            state=state,
            message=message,
            base=None if base is None else " ".join(base.kernels),
            head=" ".join(head.kernels),
            figures=head.figures,
            differences=differences,
        )

    def _removed(self) -> list[CheckRow]:
        rows = []
        for name in self.today.removed(self.baseline):
            record = self.baseline.kernels[name]
            problem = self.baseline.variants[name.rpartition("/")[0]].problem
            words = f"{record.config} {record.options}".strip()
            rows.append(removed_row(self.today.arch, name, problem, words))
        shipped = {variant.name for variant in self.today.variants}
        for name, variant in self.baseline.variants.items():
            if name not in shipped:
                words = " ".join(variant.kernels)
                refused = self.today.refused.get(name)
                rows.append(removed_row(self.today.arch, name, variant.problem, words, refused))
        return rows

    def _causes(self, pair: Pair) -> set[str]:
        if pair.base is None:
            return set()
        return changed(pair.base, pair.head) | (set() if self.same_compiler else {COMPILER})

    def _cause(self, figure: str, pair: Pair, built: Built) -> str:
        assert pair.base is not None
        old = self._old.get(pair.head.name)
        return cause(
            figure,
            self._causes(pair),
            pair.base.figures,
            built.figures or {},
            None if old is None else old.figures,
        )

    def _both_changed(self, pair: Pair, builds: Builds) -> bool:
        built = builds.of(pair.head)
        if pair.base is None or built is None or built.figures is None:
            return False
        causes = self._causes(pair)
        return (
            COMPILER in causes
            and len(causes) > 1
            and bool(differing(pair.base.figures, built.figures))
        )

    def _variant_cause(self, shipped: Shipped) -> str:
        """What changed launches and bytes, which do not depend on the compiler."""
        own = f"{shipped.name}/"
        pairs = [p for p in self.pairs if any(use.startswith(own) for use in p.head.uses)]
        causes = {cause for pair in pairs for cause in self._causes(pair)} - {COMPILER}
        base, head = self.baseline.variants[shipped.name], self.today.record(shipped)
        if set(base.kernels) != set(head.kernels):
            causes.add(TEMPLATE)
        return joined(causes)


def _from_base(pairs: list[Pair], base: Path | None, file: Path) -> dict[str, Source]:
    """The sources of the baseline's revision, by kernel; without those that it does not render."""
    if not pairs:
        return {}
    with ExitStack() as stack:
        folder = stack.enter_context(base_folder(file)) if base is None else base
        if folder is None:
            return {}
        records = [(pair.base, pair.head) for pair in pairs if pair.base is not None]
        found = old_sources(folder, records)
    named = zip(records, found, strict=True)
    return {head.name: source for (_, head), source in named if source is not None}
