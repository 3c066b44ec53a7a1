"""Rendering the sources of a description, for its problems and for calls with other flags."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import FALLBACK, default_variants
from gdn_ops.sources.served import kind_of
from gdn_ops.tuner.export.description import Description
from gdn_ops.tuner.report.printable import printable

GATES = ((False, False), (True, False), (True, True))
"""Pairs of gate_in_kernel and dt_bias."""


@dataclass
class Rendered:
    """The sources of a library.

    Args:
        target: the target that they are tuned for.
        stages: the name of a file, by problem without sizes, stage and label of the config.
        sources: the source of each file.
        code: the hash of the code in each file.
        kinds: the kinds of problems that they are for; see ``gdn_ops.sources.served``.
    """

    target: Target
    stages: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    kinds: list[dict[str, Any]] = field(default_factory=list)

    def index(self) -> dict[str, Any]:
        """The index that ``gdn_ops.sources.files`` reads."""
        served = {
            "target": printable(self.target.name),
            "arch": printable(self.target.arch),
            "gpu": self.target.gpu,
            "kinds": self.kinds,
        }
        return {
            "served": served,
            "stages": self.stages,
            "code": self.code,
        }


def rendered(description: Description) -> Rendered:
    """Render each winner for its problem, and for the same problem with other flags.

    A stored winner also serves calls that pack their sequences or not, with or without an initial
    and a final state, with a raw gate or its logarithm. Dispatch then runs the same variant, whose
    sources differ.
    """
    target = description.target
    found = Rendered(target)
    for exported in description.winners:
        if (kind := kind_of(exported.problem)) not in found.kinds:
            found.kinds.append(kind)
        for problem in with_other_flags(exported.problem):
            for variant in _variants(exported.variant, problem, target):
                if not variant.reasons(problem, target):
                    _add(found, problem, variant)
    return found


def with_other_flags(problem: Problem) -> Iterator[Problem]:
    """The problem, and those that differ from it in flags which change from call to call."""
    packed = (False, True)
    if problem.op == "pool":
        # what an engine's pool is like does not change
        yield from (replace(problem, varlen=varlen) for varlen in packed)
        return
    gates = GATES if problem.rule.gate != "none" else GATES[:1]
    for varlen, initial, final, (raw, bias) in product(packed, (False, True), (False, True), gates):
        yield replace(
            problem, varlen=varlen, initial_state=initial, final_state=final, gate_in_kernel=raw,
            dt_bias=bias,
        )  # fmt: skip


def _variants(variant: Variant, problem: Problem, target: Target) -> list[Variant]:
    """The variants that dispatch may choose for a problem, given the winner of a similar one.

    On a CPU these are also the default variants of the plan that dispatch falls back to: they run
    where the winner does not, on other kinds of CPU and for packed sequences of one token.
    """
    found = [] if target.gpu else list(default_variants(FALLBACK, problem, target))
    with suppress(GdnError):  # the plan has other stages for this problem
        found.append(Variant.from_json(variant.to_json(), problem))
    return found


def _add(found: Rendered, problem: Problem, variant: Variant) -> None:
    stages = found.stages.setdefault(problem.without_sizes().id(), {})
    hashes = source_hashes(problem, variant)
    for name, _ in variant.stages:
        spec, config = KERNELS[name], variant.config(name)
        files = stages.setdefault(name, {})
        if spec.label(config) in files:
            continue
        source = render(spec, problem, config)
        file = f"{name}_{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        files[spec.label(config)] = file
        found.sources[file], found.code[file] = source, hashes[name]
