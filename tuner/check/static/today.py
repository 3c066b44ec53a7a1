"""Today: what ships for one architecture now, in pairs with its baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.schedule import running
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.traffic import variant_bytes
from gdn_ops.tuner.check.static.baseline import Baseline, KernelRecord, VariantRecord
from gdn_ops.tuner.check.static.compiler import Compiler
from gdn_ops.tuner.check.static.compiling import Built
from gdn_ops.tuner.check.static.figures import reader_hash
from gdn_ops.tuner.check.static.kernel import Kernel, Key, kernels_of
from gdn_ops.tuner.check.static.shipping import Shipped, gpu_of, shipping

DIGITS = 3
"""Decimals of bytes per token and value head."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A kernel of today, or those of its uses that the baseline has in one kernel, and that one.

    Args:
        base: None if the baseline has no such kernel.
    """

    head: Kernel
    base: KernelRecord | None

    @property
    def same(self) -> bool:
        """Whether code, arguments, configuration and options are those of the baseline."""
        base, head = self.base, self.head
        return base is not None and (base.hash, base.arguments, base.config, base.options) == (
            head.hash, head.arguments, head.config, head.options,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Today:
    """What ships for one architecture.

    Args:
        arch, target: the architecture and the GPU that represents it.
        variants: what ships.
        kernels: their kernels, each once.
        refused: why a default variant cannot run there, by its name.
        notes: a sentence for each winner that cannot be read.
    """

    arch: str
    target: Target
    variants: Sequence[Shipped]
    kernels: Sequence[Kernel]
    refused: Mapping[str, str]
    notes: Sequence[str]

    @classmethod
    def of(cls, arch: str, problems: dict[str, Problem] | None = None) -> Today:
        """What this gdn_ops ships for an architecture; arguments as of ``shipping``."""
        found = shipping(arch, problems=problems)
        return cls(
            arch=arch,
            target=gpu_of(arch),
            variants=found.variants,
            kernels=kernels_of(found.variants),
            refused=found.refused,
            notes=found.notes,
        )

    def pairs(self, baseline: Baseline) -> list[Pair]:
        """Each kernel with the one that the baseline has for the same uses."""
        found = []
        for kernel in self.kernels:
            uses: dict[str, list[str]] = {}
            for use in kernel.uses:
                if (name := baseline.kernel_of(use)) is not None:
                    uses.setdefault(name, []).append(use)
            found += [
                Pair(head=replace(kernel, uses=tuple(own)), base=baseline.kernels[name])
                for name, own in uses.items()
            ] or [Pair(head=kernel, base=None)]
        return found

    def removed(self, baseline: Baseline) -> list[str]:
        """The names of the baseline's kernels of which no use is left."""
        left = {baseline.kernel_of(use) for kernel in self.kernels for use in kernel.uses}
        return [name for name in baseline.kernels if name not in left]

    def record(self, shipped: Shipped) -> VariantRecord:
        """What a baseline says of a variant.

        A stage of plain PyTorch counts as one launch, though it makes several.
        """
        own = {use: kernel.name for kernel in self.kernels for use in kernel.uses}
        stages = [stage for stage, _ in shipped.variant.stages]
        uses = {stage: f"{shipped.name}/{stage}" for stage in stages}
        moved = round(variant_bytes(shipped.variant, shipped.problem), DIGITS)
        return VariantRecord(
            problem=shipped.problem.id(),
            kernels={stage: own[use] for stage, use in uses.items() if use in own},
            figures={
                "launches": len(running(shipped.variant, shipped.problem)),
                "bytes": int(moved) if moved == int(moved) else moved,
            },
        )

    def baseline(self, built: Mapping[Key, Built], compiler: Compiler) -> Baseline:
        """The baseline of today; every kernel must have figures."""
        return Baseline(
            arch=self.arch,
            compiler=compiler,
            reader=reader_hash(self.target),
            kernels={
                kernel.name: KernelRecord(
                    hash=kernel.hash,
                    arguments=kernel.arguments,
                    config=kernel.config,
                    options=kernel.options,
                    figures=dict(built[kernel.key].figures or {}),
                )
                for kernel in self.kernels
            },
            variants={shipped.name: self.record(shipped) for shipped in self.variants},
        )
