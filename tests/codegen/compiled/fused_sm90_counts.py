"""Compile the other stages of plan fused_sm90 for Hopper and print what they take, as JSON.

It is a process of its own because Triton, once set to interpret, compiles nothing.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.compiled.compile import Compiled, compile_stage
from gdn_ops.codegen.compiled.races import races
from gdn_ops.codegen.compiled.resources import resources_of
from gdn_ops.codegen.compiled.trips import source_loops, trips
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.targets import target_named
from tests.codegen.compiled.chunk_loop import counts, listing_of
from tests.codegen.compiled.gluon_scan_counts import PROBLEM as FORWARD
from tests.codegen.kernels.gluon_faults import FAULTS, GRADS, READ

BACKWARD = FORWARD.backward(final_state=True)
H200 = target_named("h200")
LOOPS = {"there": 16, "back": 24, "score": 8}
"""Matrix instructions per chunk: S k^T, x A^T, n k; dS k^T, do^T P, do^T q, dn A, dx k; q k^T."""


def compiled(stage: str, problem: Problem, **axes: Value) -> tuple[Compiled, float]:
    """A stage, and the instructions that all warps of a program execute."""
    spec = KERNELS[stage]
    config = {**defaults(PLANS["fused_sm90"].axes), **spec.default(problem), **axes}
    with tempfile.TemporaryDirectory() as folder:
        kernel = compile_stage(spec, problem, config, target=H200, folder=Path(folder))
    loops = resources_of(kernel).loops
    passes = trips(loops, source_loops(render(spec, problem, config), {"T": 64}))
    total = sum(x.mix.instructions * n for x, n in zip(loops, passes, strict=True))
    return kernel, total * kernel.warps


def walks() -> dict[str, Any]:
    kernel, _ = compiled("bwd_walks_sm90", BACKWARD)
    listing = listing_of(kernel.binary)
    return {
        "stack": resources_of(kernel).stack,
        "reasons": resources_of(kernel).reasons(H200),
        **{name: counts(listing, products) for name, products in LOOPS.items()},
    }


def grads() -> dict[str, Any]:
    kernel, _ = compiled(GRADS, BACKWARD)
    needs = resources_of(kernel)
    found = [str(race) for race in races(kernel.asm["ttgir"])]
    return {
        "stack": needs.stack, "reasons": needs.reasons(H200), "races": found,
        "instructions": needs.instructions, "products": needs.matrix["HGMMA"],
    }  # fmt: skip


def planted() -> list[str]:
    """The races of the gradients with a tile written while a product reads it."""
    from gdn_ops.codegen.compiled import compile as compiling

    (fault,) = (x for x in FAULTS if (x.stage, x.kind) == (GRADS, READ))
    given = compiling.render
    compiling.render = lambda *args, **options: fault.planted(given(*args, **options))
    kernel, _ = compiled(GRADS, replace(BACKWARD, K=64, V=64))
    return [str(race) for race in races(kernel.asm["ttgir"])]


def main() -> None:
    solve = {dot: compiled("gate_solve", FORWARD, merge_dot=dot)[1] for dot in ("fp16", "tf32x3")}
    both = resources_of(compiled("gate_solve", FORWARD)[0])
    found = {"walks": walks(), "grads": grads(), "solve": {**solve, "stack": both.stack}}
    print(json.dumps({**found, "planted": planted()}))


if __name__ == "__main__":
    main()
