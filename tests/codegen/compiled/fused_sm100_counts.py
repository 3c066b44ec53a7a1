"""Compile the backward of plan fused_sm100 for Blackwell and print what it takes, as JSON.

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
from gdn_ops.codegen.compiled.resources import Resources, resources_of
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.targets import target_named
from tests.codegen.compiled.chunk_loop import counts, listing_of
from tests.codegen.compiled.gluon_scan_counts import PROBLEM, multiplying

BACKWARD = PROBLEM.backward(final_state=True)
B200 = target_named("b200")
WAITS = 4
"""Barriers that a chunk of a partition waits for, at most."""


def compiled(stage: str, dim: int) -> tuple[Resources, str]:
    """A stage with heads of ``dim``, and its listing."""
    spec, problem = KERNELS[stage], replace(BACKWARD, K=dim, V=dim)
    config = {**defaults(PLANS["fused_sm100"].axes), **spec.default(problem)}
    with tempfile.TemporaryDirectory() as folder:
        kernel = compile_stage(spec, problem, config, target=B200, folder=Path(folder))
    return resources_of(kernel), listing_of(kernel.binary)


def walks(dim: int) -> dict[str, Any]:
    needs, listing = compiled("bwd_walks_sm100", dim)
    depth = dim // 16
    # S k^T, x A^T, n k; dS k^T, do^T P, do^T q, dn A, dx k
    products = {"there": depth + 8, "back": depth + 16}
    return {
        "stack": needs.stack,
        "reasons": needs.reasons(B200),
        "cycles": [mix.cycles for mix in multiplying(needs.loops)],
        **{name: counts(listing, n, "UTCHMMA", WAITS) for name, n in products.items()},
    }


def grads(dim: int) -> dict[str, Any]:
    needs, _ = compiled("bwd_grads_sm100", dim)
    return {
        "stack": needs.stack, "reasons": needs.reasons(B200), "products": needs.matrix["UTCHMMA"],
        "instructions": needs.instructions, "tensor": sum(loop.mix.tensor for loop in needs.loops),
    }  # fmt: skip


def main() -> None:
    print(json.dumps({dim: {"walks": walks(dim), "grads": grads(dim)} for dim in (128, 64)}))


if __name__ == "__main__":
    main()
