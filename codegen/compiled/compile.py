"""Compiling one stage for a target, which need not be in this machine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.launch_needs import LaunchNeeds
from gdn_ops.codegen.errors import CompileError, InvalidConfig
from gdn_ops.codegen.gluon import descriptor_type
from gdn_ops.codegen.module_cache import load_module
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import TENSORS

SCALARS = {
    "T": "i32",
    "S": "i32",
    "scale": "fp32",
    "stride_q": "i32",
    "stride_k": "i32",
    "stride_v": "i32",
    "stride_g": "i32",
    "stride_beta": "i32",
    "stride_pool": "i64",
    "stride_slots": "i32",
}
DIVISIBLE = ("stride_q", "stride_k", "stride_v", "stride_pool")
"""Strides that are multiples of 16 in a model's tensors."""
BACKENDS = {"nvidia": "cuda", "amd": "hip"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A rendered stage and what Triton is told about it.

    Args:
        stage: the stage's name, which is also the function's.
        code: the rendered file.
        types: Triton's type of each parameter, in order; see ``signature``.
        options: see ``launch_options``.
    """

    stage: str
    code: str
    types: Mapping[str, str]
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """One stage compiled by Triton.

    Args:
        stage: the stage's name.
        target: the GPU it was compiled for.
        warps: warps per block at launch (warp specialisation adds to ``num_warps``).
        shared: bytes of shared memory that the launch asks for.
        tensor_memory: columns of tensor memory per block (sm_100).
        binary: the cubin or code object.
        asm: the intermediate texts, by Triton's names: ttir, ttgir, llir, ptx or amdgcn.
        seconds: time of compiling; the first call in a process includes the compiler's start.
        cached: whether Triton had it in its cache; ``seconds`` is then the look-up.
        needs: what its launch needs besides a grid, warps and shared memory.
        entry: the folder of Triton's cache that holds it; it may be gone.
    """

    stage: str
    target: Target
    warps: int
    shared: int
    tensor_memory: int
    binary: bytes
    asm: Mapping[str, str]
    seconds: float
    cached: bool
    needs: LaunchNeeds = field(default_factory=LaunchNeeds)
    entry: Path | None = None


def compile_stage(
    spec: KernelSpec, problem: Problem, config: Config, *, target: Target, folder: Path
) -> Compiled:
    """Render a stage and compile it for a target, in this process, without a GPU or PyTorch.

    LLVM may abort the process; run this in a worker if that matters.

    Args:
        spec: a Triton or Gluon stage.
        problem: supplies heads, head dims, dtype and flags.
        config: a value for every axis that the stage sees, already checked.
        target: a GPU.
        folder: where the rendered file is written; Triton reads it back.

    Raises:
        InvalidConfig: the target is not a GPU or the stage is plain PyTorch.
        CompileError: Triton or its assembler failed; with the cause in one line.
    """
    if target.vendor not in BACKENDS or not spec.compiled:
        raise InvalidConfig(
            f"{spec.name} ({spec.language}) cannot be compiled for {target.name}: only Triton "
            "and Gluon stages are compiled, and only for GPUs; name a GPU and such a stage."
        )
    source = Source(
        stage=spec.name,
        code=render(spec, problem, config),
        types=signature(spec, problem, config),
        options=launch_options(spec, config),
    )
    return compile_source(source, target=target, folder=folder, values=_values(spec, config))


def compile_source(source: Source, *, target: Target, folder: Path, values: str = "") -> Compiled:
    """Compile a rendered stage, which may be one of another revision; see ``compile_stage``.

    Args:
        target, folder: as of ``compile_stage``.
        values: the config in words, for error messages.
    """
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    if knobs.runtime.interpret:
        raise CompileError(
            "Triton's interpreter is on (TRITON_INTERPRET=1) and compiles nothing; "
            "unset it, or compile in a worker, which does."
        )
    stage = source.stage
    kernel = getattr(load_module(stage, source.code, folder), stage)
    types = dict(source.types)
    if kernel.is_gluon():
        from triton.experimental.gluon._runtime import GluonASTSource as ASTSource
    ast = ASTSource(kernel, signature=types, constexprs={}, attrs=attributes(types, target))
    arch = target.capability or target.arch
    cache_hits: list[bool] = []
    start = time.perf_counter()
    with knobs.compilation.scope():
        knobs.compilation.listener = lambda **event: cache_hits.append(event["cache_hit"])
        try:
            kernel = _in_some_cache(
                lambda: compile(
                    ast,
                    target=GPUTarget(BACKENDS[target.vendor], arch, target.warp),
                    options=dict(source.options),
                )
            )
        except MemoryError:
            raise
        except Exception as error:
            raise CompileError(
                f"{stage} ({values}) did not compile for {target.name} "
                f"({target.arch}): {cause(error)}; choose other axis values."
            ) from error
    seconds = time.perf_counter() - start
    return compiled_of(stage, target, kernel, seconds=seconds, cached=cache_hits == [True])


def _in_some_cache(compile: Callable[[], Any]) -> Any:
    """Compile in Triton's cache, or in a temporary one if that cannot be written."""
    from triton import knobs

    try:
        return compile()
    except OSError:
        with TemporaryDirectory() as folder, knobs.cache.scope():
            knobs.cache.dir = folder
            return compile()


def signature(spec: KernelSpec, problem: Problem, config: Config) -> dict[str, str]:
    """Triton's type of each parameter of the rendered function, in order."""
    blocks = spec.blocks(problem, config)
    return {
        name: _type_of(name, problem, config, blocks) for name in spec.parameters(problem, config)
    }


def _type_of(
    name: str, problem: Problem, config: Config, blocks: Mapping[str, tuple[int, int]]
) -> str:
    if name in SCALARS:
        return SCALARS[name]
    if name in TENSORS:
        return "*" + TENSORS[name].element(problem, config).signature
    tensor = name.removeprefix("d_")
    return descriptor_type(TENSORS[tensor].element(problem, config), blocks[tensor])


def launch_options(spec: KernelSpec, config: Config) -> dict[str, Any]:
    """The options for Triton's launcher; enable_fp_fusion always, as its default differs."""
    options = {axis.name: config[axis.name] for axis in spec.axes if axis.launch}
    return {"enable_fp_fusion": True, **options}


def cause(error: BaseException) -> str:
    """Why Triton failed, in one line: the innermost error and the source line it refers to."""
    where = ""
    while True:
        source, line = (
            getattr(error, "src", None),
            getattr(getattr(error, "node", None), "lineno", 0),
        )
        if source and line:
            where = f" at `{source.splitlines()[line - 1].strip()}`"
        if error.__cause__ is None:
            break
        error = error.__cause__
    text = str(getattr(error, "error_message", None) or error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\b(error|fatal)\s*:", line)]
    return f"{type(error).__name__}: {(telling or lines or ['no message'])[0]}{where}"


def _values(spec: KernelSpec, config: Config) -> str:
    names = [*spec.shared, *(axis.name for axis in spec.axes)]
    return " ".join(f"{name}={config[name]}" for name in names)


def attributes(types: Mapping[str, str], target: Target) -> dict[tuple[int, ...], list[Any]]:
    """What holds for PyTorch's tensors: 16-byte alignment, and on AMD a size of at most 2 GiB."""
    aligned: list[Any] = ["tt.divisibility", 16]
    facts = [aligned, ["tt.pointer_range", 32]] if target.vendor == "amd" else [aligned]
    pointers = {(i,): facts for i, type_ in enumerate(types.values()) if type_.startswith("*")}
    return pointers | {(i,): [aligned] for i, name in enumerate(types) if name in DIVISIBLE}


def compiled_of(
    stage: str, target: Target, kernel: Any, *, seconds: float, cached: bool
) -> Compiled:
    """A kernel that Triton compiled (its ``CompiledKernel``), as ``Compiled``."""
    metadata = kernel.metadata
    return Compiled(
        stage=stage,
        target=target,
        warps=metadata.num_warps,
        shared=metadata.shared,
        tensor_memory=getattr(metadata, "tmem_size", None) or 0,
        binary=kernel.kernel,
        asm={name: text for name, text in kernel.asm.items() if isinstance(text, str)},
        seconds=seconds,
        cached=cached,
        needs=LaunchNeeds.of(metadata),
        entry=next((Path(path).parent for path in kernel.metadata_group.values()), None),
    )
