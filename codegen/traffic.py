"""Traffic: the bytes that stages and variants move through memory, and the sizes of tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.schedule import running
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.tensor import TENSORS, slices
from gdn_ops.codegen.variant import Variant


def stage_bytes(spec: KernelSpec, problem: Problem, config: Config) -> float:
    """The bytes per token and value head that a stage reads and writes, each tensor once.

    Repeated reads, by the same program or by others, are not counted. Initial and final states and
    the tables of packed sequences are left out, because their size does not depend on the tokens.
    """
    names = (*spec.inputs(problem, config), *spec.outputs(problem, config))
    return tensor_bytes((name for name in names if name in TENSORS), problem, config)


def variant_bytes(variant: Variant, problem: Problem, given: Collection[str] = ()) -> float:
    """The bytes per token and value head that a variant's stages move if ``given`` exist."""
    stages = running(variant, problem, given)
    return sum(stage_bytes(KERNELS[name], problem, variant.config(name)) for name in stages)


def tensor_bytes(names: Iterable[str], problem: Problem, config: Config) -> float:
    """The sizes of tensors in bytes per token and value head; see ``stage_bytes``."""
    return sum(_bytes(name, problem, config) for name in names)


def _bytes(name: str, problem: Problem, config: Config) -> float:
    tensor = TENSORS[name]
    symbols = tensor.symbols(problem)
    if not {"T", "chunks", "segments"}.intersection(symbols) or "2" in symbols:
        return 0.0
    BT, SEG = int(config.get("BT") or 1), int(config.get("SEG") or 1)
    each = {
        "B": 1.0, "T": 1.0, "HV": 1.0, "H": 1.0 / problem.group, "chunks": 1.0 / BT,
        "K": float(problem.K), "V": float(problem.V), "BT": float(BT), "SEG": float(SEG),
        "segments": 1.0 / (BT * SEG),
        "NV": float(slices(problem, config)),
    }  # fmt: skip
    size = float(tensor.element(problem, config).bytes)
    for symbol in symbols:
        size *= each[symbol]
    return size
