"""Traffic: the bytes that a stage's or a variant's tensors move through memory."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS
from gdn_ops.codegen.variant import Variant


def stage_bytes(spec: KernelSpec, problem: Problem, config: Config) -> float:
    """Bytes a token of a value head that a stage reads and writes, each of its tensors once.

    What one program reads again, or another also reads, counts once. States that come in and go
    out, and tables of packed sequences, belong to no token and are left out.
    """
    names = (*spec.inputs(problem, config), *spec.outputs(problem, config))
    return sum(_bytes(name, problem, config) for name in names if name in TENSORS)


def variant_bytes(variant: Variant, problem: Problem) -> float:
    """The bytes of all stages of a variant, a token of a value head."""
    specs = PLANS[variant.plan].specs(problem)
    return sum(stage_bytes(spec, problem, variant.config(spec.name)) for spec in specs)


def _bytes(name: str, problem: Problem, config: Config) -> float:
    tensor = TENSORS[name]
    symbols = tensor.symbols(problem)
    if not {"T", "chunks"}.intersection(symbols) or "2" in symbols:
        return 0.0
    BT = int(config.get("BT") or 1)
    each = {
        "B": 1.0, "T": 1.0, "HV": 1.0, "H": 1.0 / problem.group, "chunks": 1.0 / BT,
        "K": float(problem.K), "V": float(problem.V), "BT": float(BT),
    }  # fmt: skip
    size = float(tensor.element(problem, config).bytes)
    for symbol in symbols:
        size *= each[symbol]
    return size
