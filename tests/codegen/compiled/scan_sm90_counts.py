"""Compile scan_sm90 for Hopper and print what a chunk of its partitions takes, as JSON.

It is a process of its own because Triton, once set to interpret, compiles nothing.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import triton

from gdn_ops.codegen.axis import defaults
from gdn_ops.codegen.compiled.compile import compile_stage
from gdn_ops.codegen.compiled.resources import resources_of
from gdn_ops.codegen.kernels.scan_sm90 import SPEC
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from tests.codegen.compiled.chunk_loop import chunk_loop, count

PROBLEM = Problem(
    op="forward", H=16, HV=64, K=128, V=128, dtype="bf16", tokens=8192, sequences=1,
    initial_state=True, final_state=True,
)  # fmt: skip
PRODUCTS = {"walk": 28, "score": 8}
"""Matrix instructions per chunk: S k^T, S q^T, n A^T, n k, n P^T; and q k^T."""


def main() -> None:
    config = {**defaults(PLANS["fused_sm90"].axes), **SPEC.default(PROBLEM)}
    target = target_named("h200")
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_stage(SPEC, PROBLEM, config, target=target, folder=Path(folder))
        cubin = Path(folder) / "cubin"
        cubin.write_bytes(compiled.binary)
        command = [triton.knobs.nvidia.nvdisasm.path, "--print-code", str(cubin)]
        listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    needs = resources_of(compiled)
    found: dict[str, object] = {
        "reasons": needs.reasons(target),
        "stack": needs.stack,
        "copies": dict(needs.copies),
    }
    for name, products in PRODUCTS.items():
        loop = chunk_loop(listing, products)
        found[name] = {
            "products": count(loop, "HGMMA"),
            "instructions": len(loop),
            "waits": count(loop, "SYNCS.PHASECHK", "WARPGROUP.DEPBAR", "DEPBAR"),
            "barriers": count(loop, "BAR.SYNC"),
            "stores": count(loop, "STS", "STG"),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
