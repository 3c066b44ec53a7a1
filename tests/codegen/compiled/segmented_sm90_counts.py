"""Compile the walks of plan segmented_sm90 for Hopper and print what they take, as JSON.

It is a process of its own because Triton, once set to interpret, compiles nothing.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from gdn_ops.codegen.axis import defaults
from gdn_ops.codegen.compiled.compile import compile_stage
from gdn_ops.codegen.compiled.resources import resources_of
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from tests.codegen.compiled.chunk_loop import counts, listing_of
from tests.codegen.compiled.fused_sm90_counts import LOOPS as OF_GRADIENTS
from tests.codegen.compiled.gluon_scan_counts import PROBLEM, products

H200 = target_named("h200")
LOOPS = {
    "segment_map_sm90": {"walk": 16},
    "segment_scan_sm90": products(128),
    "segment_bwd_map_sm90": {"walk": 24, "score": 8},
    "segment_bwd_walks_sm90": OF_GRADIENTS,
}
"""Matrix instructions per chunk; of segment_map_sm90 those of S k^T, x A^T and n k."""


def found(stage: str, problem: Problem) -> dict[str, Any]:
    spec = KERNELS[stage]
    if "bwd" in stage:
        problem = problem.backward(final_state=True)
    config = {**defaults(PLANS["segmented_sm90"].axes), **spec.default(problem)}
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_stage(spec, problem, config, target=H200, folder=Path(folder))
    needs, listing = resources_of(compiled), listing_of(compiled.binary)
    return {
        "stack": needs.stack, "reasons": needs.reasons(H200), "shared": compiled.shared,
        "registers": needs.registers * 32 * compiled.warps,
        **{name: counts(listing, number) for name, number in LOOPS[stage].items()},
    }  # fmt: skip


def main() -> None:
    problems = {"dense": PROBLEM, "packed": replace(PROBLEM, varlen=True)}
    print(json.dumps({f"{s} {name}": found(s, p) for s in LOOPS for name, p in problems.items()}))


if __name__ == "__main__":
    main()
