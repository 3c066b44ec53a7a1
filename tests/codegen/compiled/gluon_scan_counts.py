"""Compile the forward walks in Gluon and print what a chunk of their partitions takes, as JSON.

    python -m tests.codegen.compiled.gluon_scan_counts 128 scan_sm90 scan_sm100

It is a process of its own because Triton, once set to interpret, compiles nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gdn_ops.codegen.axis import defaults
from gdn_ops.codegen.compiled.compile import compile_stage
from gdn_ops.codegen.compiled.loops import Loop, Mix
from gdn_ops.codegen.compiled.resources import resources_of
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.cost.program import partitions_of
from tests.codegen.compiled.chunk_loop import counts, listing_of

PROBLEM = Problem(
    op="forward", H=16, HV=64, K=128, V=128, dtype="bf16", tokens=8192, sequences=1,
    initial_state=True, final_state=True,
)  # fmt: skip
TARGETS = {"scan_sm90": "h200", "scan_sm100": "b200"}
OPCODES = {"scan_sm90": "HGMMA", "scan_sm100": "UTCHMMA"}
"""Matrix instructions of these GPUs."""
WAITS = {"scan_sm90": 1, "scan_sm100": 5}
"""Barriers that a chunk of a partition waits for, at most."""


def products(dim: int) -> dict[str, int]:
    """Matrix instructions per chunk: S k^T, S q^T, n A^T, n k, n P^T; and q k^T."""
    depth = dim // 16  # they multiply 16 columns by 16 rows at a time
    return {"walk": 2 * depth + 3 * 4, "score": depth}


def cycles(loops: Sequence[Loop]) -> list[float]:
    """Cycles of a chunk in the partitions with matrix products, the one with the fewest first."""
    return [mix.cycles for mix in multiplying(loops) if mix.matrix]


def multiplying(loops: Sequence[Loop]) -> list[Mix]:
    """A chunk of each partition with matrix products, the one with the fewest first."""
    chunks = [part.loop.mix for part in partitions_of(loops, 1.0, 1.0) if part.beside]
    found = [mix for mix in chunks if mix.matrix + mix.tensor]
    return sorted(found, key=lambda mix: mix.matrix + mix.tensor)


def counted(stage: str, dim: int) -> dict[str, object]:
    """What a stage takes with heads of ``dim``."""
    spec, problem = KERNELS[stage], replace(PROBLEM, K=dim, V=dim)
    config = {**defaults(PLANS["fused_sm90"].axes), **spec.default(problem)}
    target = target_named(TARGETS[stage])
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_stage(spec, problem, config, target=target, folder=Path(folder))
    listing = listing_of(compiled.binary)
    needs = resources_of(compiled)
    found: dict[str, object] = {
        "reasons": needs.reasons(target),
        "stack": needs.stack,
        "copies": dict(needs.copies),
        "tensor memory": compiled.tensor_memory,
        "cycles": cycles(needs.loops),
        "products": [mix.tensor for mix in multiplying(needs.loops)],
        "alone": [mix.alone for mix in multiplying(needs.loops)],
        "warps": [loop.warps for loop in needs.loops if loop.mix.tensor],
    }
    for name, number in products(dim).items():
        found[name] = counts(listing, number, OPCODES[stage], WAITS[stage])
    return found


def main() -> None:
    dim, *stages = sys.argv[1:]
    print(json.dumps({stage: counted(stage, int(dim)) for stage in stages}))


if __name__ == "__main__":
    main()
