"""Kernel sets: the launches and buffers of a whole call, as the manifest has them.

A set is plain JSON, and everything else is made from it: the tables of the loader in C, and the
checks of ``gdn export verify``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, cast

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.compile import attributes, signature
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.schedule import RESULTS, running
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import TENSORS, Sizes, chunk_count, segment_count, segment_tokens
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.cubins.formula import Formula, formulas
from gdn_ops.tuner.export.cubins.workspace import slots

TABLES = (
    "cu_seqlens", "chunk_indices", "chunk_offsets", "cu_segments", "sequence_of", "segment_offsets",
)  # fmt: skip
"""Tensors that the loader makes from the offsets of packed sequences."""
SCRATCH = ("global_scratch", "profile_scratch")
"""The two pointers that Triton adds to the parameters of every kernel."""
BYTES = {"i32": 4, "fp32": 4, "i64": 8}
"""The sizes of parameters that are numbers."""
POINTER = 8


def stages_of(variant: Variant, problem: Problem) -> list[tuple[KernelSpec, Config]]:
    """The stages that run for a call, in order, each with its config."""
    return [(KERNELS[name], variant.config(name)) for name in running(variant, problem)]


def parameters(
    spec: KernelSpec, problem: Problem, config: Config, target: Target
) -> list[dict[str, Any]]:
    """The parameters of a compiled stage, and what each must be divisible by."""
    types = signature(spec, problem, config)
    promised = {
        at: dict(facts).get("tt.divisibility", 1)
        for (at,), facts in attributes(types, target).items()
    }
    found, offset = [], 0
    for at, (name, type_) in enumerate([*types.items(), *((name, "scratch") for name in SCRATCH)]):
        size = BYTES.get(type_, POINTER)
        offset = -(-offset // size) * size
        found.append(
            {"name": name, "type": type_, "offset": offset, "size": size,
             "divisible_by": promised.get(at, 1)}
        )  # fmt: skip
        offset += size
    return found


def kernel_set(variant: Variant, problem: Problem, kernels: Mapping[str, str]) -> dict[str, Any]:
    """The set of a variant.

    Args:
        kernels: the name of each stage's kernel in the manifest, by stage.
    """
    config = dict(variant.interface)
    BT, segment = int(config.get("BT") or 0), segment_tokens(config)
    packed = problem.varlen and problem.op != "pool"
    (L,) = _symbols("L")
    chunks, segments = formulas(lambda: (chunk_count(L, BT), segment_count(L, segment)))
    stages = stages_of(variant, problem)
    return {
        "problem": problem.id(),
        "facts": problem.facts(),
        "variant": variant.id,
        "packed": packed,
        "one_token": problem.op == "decode",
        "segment_tokens": segment,
        "chunks": chunks if packed else "0",
        "segments": segments if packed else "0",
        "buffers": _buffers(stages, problem),
        "stages": [
            {
                "stage": spec.name,
                "kernel": kernels[spec.name],
                "config": dict(config),
                "grid": _grid(spec, problem, config),
            }
            for spec, config in stages
        ],
    }


def _grid(spec: KernelSpec, problem: Problem, config: Config) -> list[str]:
    def compute() -> Sequence[int]:
        return (*spec.grid(problem, config, _sizes(problem, config)), 1, 1)[:3]

    return list(formulas(compute))


def _sizes(problem: Problem, config: Config) -> Sizes:
    """The sizes of any call, by their symbols."""
    B, T, N, NT, NS = _symbols("B", "T", "N", "NT", "NS")
    if problem.varlen or problem.op == "pool":
        return Sizes(B, T, N, NT, NS)
    return Sizes.dense(B, T, int(config.get("BT") or 0), segment_tokens(config))


def _symbols(*names: str) -> list[int]:
    return cast("list[int]", [Formula(name) for name in names])


def _buffers(stages: Sequence[tuple[KernelSpec, Config]], problem: Problem) -> list[dict[str, Any]]:
    """Every tensor of the stages: inputs, results, intermediates, tables; each in order of use.

    Intermediates of one ``slot`` share a place in the workspace; every table has a slot of its own.
    """
    roles: dict[str, str] = {}
    configs: dict[str, Config] = {}
    strides: set[str] = set()
    for spec, config in stages:
        for name in spec.inputs(problem, config):
            table = name in TABLES and problem.op != "pool"
            roles.setdefault(name, "table" if table else "inout" if name == "pool" else "input")
            configs.setdefault(name, config)
        for name in spec.outputs(problem, config):
            roles.setdefault(name, "result" if name in RESULTS else "workspace")
            configs.setdefault(name, config)
        strides |= {name for name in spec.arguments(problem, config) if name.startswith("stride_")}
    order = ("input", "inout", "result", "workspace", "table")
    found = [
        _buffer(name, role, problem, configs[name], strided=f"stride_{name}" in strides)
        for wanted in order
        for name, role in roles.items()
        if role == wanted
    ]
    shared = slots(
        [(spec.inputs(problem, config), spec.outputs(problem, config)) for spec, config in stages],
        {b["name"]: b["bytes"] for b in found if b["role"] == "workspace"},
    )
    tables = (b["name"] for b in found if b["role"] == "table")
    places = shared | {name: slot for slot, name in enumerate(tables)}
    return [buffer | {"slot": places.get(buffer["name"])} for buffer in found]


def _buffer(
    name: str, role: str, problem: Problem, config: Config, *, strided: bool
) -> dict[str, Any]:
    tensor = TENSORS[name]
    element = tensor.element(problem, config)

    def dims() -> tuple[int, ...]:
        return tensor.dims(problem, config, _sizes(problem, config))

    if strided:
        shape, size = _strided(name, problem, element.bytes)
    else:
        shape = formulas(dims)
        (size,) = formulas(lambda: (prod(dims()) * element.bytes,))
    if name in ("pool", "states") and not problem.state_v_first:
        shape = (*shape[:-2], shape[-1], shape[-2])
    return {
        "name": name,
        "role": role,
        "dtype": element.name,
        "shape": list(shape),
        "bytes": size,
        "strided": strided,
        "by_token": tensor.shape[:2] == ("B", "T"),
        # the kernel of a pool writes no states of a skipped sequence
        "zeroed": name == "states",
    }


def _strided(name: str, problem: Problem, element: int) -> tuple[tuple[str, ...], str]:
    """The shape and the least bytes of a tensor whose rows are ``stride_<name>`` apart."""
    symbols, leading = TENSORS[name].symbols(problem), 1 if name in ("pool", "slots") else 2
    known: dict[str, object] = {
        "H": problem.H, "HV": problem.HV, "K": problem.K, "V": problem.V,
        "S": "S" if problem.verify else 1,
    }  # fmt: skip
    row = tuple(str(known.get(symbol, symbol)) for symbol in symbols[leading:])
    width = " * ".join(row)
    if name == "pool":  # only the kernel sees which slots are used
        return (*symbols[:leading], *row), f"{width} * {element}"
    outer = "N" if name == "slots" else "B * T"
    size = f"{outer} > 0 ? (({outer} - 1) * stride_{name} + {width}) * {element} : 0"
    return (*symbols[:leading], *row), size
