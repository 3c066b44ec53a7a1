"""Building the cubins of stages in child processes."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.compile import Source, compile_source, launch_options, signature
from gdn_ops.codegen.compiled.races import races
from gdn_ops.codegen.compiled.resources import resources_of
from gdn_ops.codegen.errors import CompileError, UnreadableCode
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.results_path import cache_folder
from gdn_ops.tuner.check.static.compiler import Compiler, compilers
from gdn_ops.tuner.cores import cores
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool

SECONDS = 300.0
"""Time limit for compiling one stage."""
NO_LINES = {"TRITON_DISABLE_LINE_INFO": "1"}
"""Without line numbers a cubin does not depend on the folder of its source."""
_ARCH = re.compile(r"^\.target\s+(\w+)", re.MULTILINE)
_PTX = re.compile(r"^\.version\s+([\d.]+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Cubin:
    """A compiled stage.

    Args:
        data: the ELF file.
        arch: what it was assembled for, e.g. ``sm_90a``.
        ptx: the version of its PTX.
        warps: warps per block.
        shared: bytes of shared memory that a launch asks for.
        registers, stack: registers per thread, and bytes per thread that spill; None if unknown.
        refusals: why a plain launch cannot start it, or why it must not run.
    """

    data: bytes
    arch: str
    ptx: str
    warps: int
    shared: int
    registers: int | None
    stack: int | None
    refusals: tuple[str, ...] = ()


def source_of(spec: KernelSpec, problem: Problem, config: Config) -> Source:
    """The source of a stage, with what Triton is told about it."""
    return Source(
        stage=spec.name,
        code=render(spec, problem, config),
        types=signature(spec, problem, config),
        options=launch_options(spec, config),
    )


def key_of(source: Source) -> tuple[object, ...]:
    """What a cubin depends on; equal keys are compiled once."""
    return source.stage, source.code, tuple(source.types.items()), tuple(source.options.items())


def built(
    sources: Iterable[Source], target: Target
) -> tuple[dict[tuple[object, ...], Cubin | str], Compiler]:
    """Compile each source once.

    Returns:
        By ``key_of`` the cubin, or why there is none; and the compiler.

    Raises:
        CompileError: the machine failed, e.g. its disk is full.
    """
    unique = {key_of(source): source for source in sources}
    jobs = [_job(key, source, target) for key, source in unique.items()]
    with WorkerPool(min(cores(), len(jobs) or 1), env=NO_LINES) as pool:
        compiler = compilers(pool, [target.arch])[target.arch]
        return {result.job.tag: _cubin(result) for result in pool.run(jobs)}, compiler


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker does for ``built``."""
    source = Source(**payload["source"])
    compiled = compile_source(
        source,
        target=Target(**payload["target"]),
        folder=Path(payload["folder"]),
        values=" ".join(f"{name}={value}" for name, value in source.options.items()),
    )
    refusals = compiled.needs.unplain() + [str(race) for race in races(compiled.asm["ttgir"])]
    registers = stack = None
    try:
        resources = resources_of(compiled)
        refusals += resources.reasons(compiled.target)
        registers, stack = resources.registers, resources.stack
    except UnreadableCode:  # it did compile
        if compiled.shared > compiled.target.shared_block:
            refusals.append(f"{compiled.shared} bytes of shared memory are too many; use less")
    ptx = compiled.asm["ptx"]
    return {
        "data": b64encode(compiled.binary).decode(),
        "arch": _first(_ARCH, ptx), "ptx": _first(_PTX, ptx),
        "warps": compiled.warps, "shared": compiled.shared,
        "registers": registers, "stack": stack, "refusals": refusals,
    }  # fmt: skip


def _job(key: tuple[object, ...], source: Source, target: Target) -> Job:
    payload = {
        "source": asdict(source), "target": asdict(target), "folder": str(cache_folder()),
    }  # fmt: skip
    return Job(kind="cubin", payload=payload, timeout=SECONDS, tag=key)


def _cubin(result: JobResult) -> Cubin | str:
    if result.status == "fault":
        raise CompileError(f"this machine could not compile: {result.message}; try again.")
    if result.payload is None:
        return result.message
    found = dict(result.payload)
    return Cubin(
        data=b64decode(found.pop("data")), refusals=tuple(found.pop("refusals")), **found
    )  # fmt: skip


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
