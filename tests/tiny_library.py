"""An exported library for tiny models of transformers, which any CPU runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from tests.results import ENVIRONMENT, Bench

CPU = replace(ENVIRONMENT, device="Test CPU", arch="avx2", driver=None, triton=None)
HEADS = ((2, 4), (4, 4))
"""(H, HV). Up to 5.22, transformers repeats the heads of q and k before it calls the rule."""
K, V = 16, 24


def tiny_database(path: Path) -> Path:
    """A database with a winner for prefill and decode of each pair of heads, in fp32."""
    return database(path, target="cpu-avx2", arch="avx2", heads=HEADS, K=K, V=V)


def database(
    path: Path, *, target: str, arch: str, heads: Iterable[tuple[int, int]], K: int, V: int
) -> Path:
    """The same for another target and other head dims."""
    bench = Bench(path, replace(CPU, arch=arch))
    for H, HV in heads:
        for op, tokens in (("forward", 64), ("decode", 1)):
            problem = Problem(
                op=op, tokens=tokens, sequences=1, H=H, HV=HV, K=K, V=V, dtype="fp32",
                initial_state=op == "decode", final_state=True,
            ).bucket()  # fmt: skip
            variant = Variant.default("torch", problem)
            bench.win(problem, target=target, arch=arch, variant=variant)
    return bench.close()
