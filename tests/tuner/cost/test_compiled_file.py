"""What was compiled is kept: a later process compiles nothing that is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from gdn_ops.codegen.compiled.loops import Loop, Mix
from gdn_ops.codegen.compiled.occupancy import Occupancy
from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.errors import CompileError
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.cost.compiled_file import CompiledFile, compiled_key
from gdn_ops.tuner.cost.model import CostModel
from gdn_ops.tuner.spaces.problems import decode
from gdn_ops.tuner.workers.worker_pool import Job, JobResult, WorkerPool

H100, H200, A100 = (target_named(name) for name in ("h100", "h200", "a100"))
PROBLEM = decode(sequences=8)
CONFIG = {**KERNELS["recurrent"].default(PROBLEM), "slice": 64}
FOUND = Resources(
    warps=1, registers=64, stack=0, shared=0, tensor_memory=0, instructions=10, matrix={},
    copies={}, local=0, binary=100, seconds=0.5, cached=False,
    occupancy=Occupancy(blocks=4, warps=4, fraction=0.1, limit="registers"),
    loops=(Loop(-1, Mix(instructions=10, cycles=20.0)),),
)  # fmt: skip


class Pool:
    """Workers that answer every job with the same, or must not be asked."""

    def __init__(self, answer: object = None) -> None:
        self.answer, self.jobs = answer, 0

    def run(self, jobs: Iterator[Job]) -> Iterator[JobResult]:
        for job in jobs:
            self.jobs += 1
            assert self.answer is not None, "it is known and must not be compiled"
            yield JobResult(job=job, status="ok", payload=self.answer, message="", stderr="")


def model(file: CompiledFile, pool: Pool, spills: bool = True) -> CostModel:
    return CostModel(H100, cast(WorkerPool, pool), spills=spills, file=file)


def test_a_later_model_compiles_nothing_that_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "compiled.jsonl"
    first = Pool(FOUND.to_json() | {"races": []})
    work = ("recurrent", "recurrent", PROBLEM, CONFIG)
    seconds = model(CompiledFile(path), first).stage_seconds(*work)
    assert (first.jobs, path.read_text().count("\n")) == (1, 1)
    path.write_text("half a li\n[]\n" + path.read_text())  # what cannot be read is left alone
    known = model(CompiledFile(path), Pool())
    assert known.stage_seconds(*work) == seconds
    fast, slow = (known.of(target).stage_seconds(*work) for target in (H200, A100))
    assert fast < seconds < slow, "the same code with the rates of other targets"
    tight = known.of(replace(A100, registers_sm=1024))
    with pytest.raises(CompileError, match="exceed the 1024 of an SM of a100"):
        tight.stage_seconds(*work)


def test_a_failure_is_kept_and_said_of_the_target_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "compiled.jsonl"
    pool = Pool(replace(FOUND, stack=16).to_json() | {"races": ["a copy races"]})
    work = ("recurrent", "recurrent", PROBLEM, CONFIG)
    for workers in (pool, Pool()):
        with pytest.raises(CompileError, match="recurrent on h200: unsound a copy races"):
            model(CompiledFile(path), workers).of(H200).stage_seconds(*work)


def test_spills_are_an_error_where_they_must_not_be_predicted(tmp_path: Path) -> None:
    file = CompiledFile(tmp_path / "compiled.jsonl")
    file.add(compiled_key("recurrent", PROBLEM, CONFIG, "sm_90"), replace(FOUND, stack=16))
    work = ("recurrent", "recurrent", PROBLEM, CONFIG)
    assert model(file, Pool()).stage_seconds(*work) > 0
    with pytest.raises(CompileError, match="registers spill, 16 bytes per thread"):
        model(file, Pool(), spills=False).stage_seconds(*work)


def test_a_key_follows_from_code_options_and_architecture() -> None:
    key = compiled_key("recurrent", PROBLEM, CONFIG, "sm_90")
    assert key == compiled_key("recurrent", replace(PROBLEM, tokens=64), CONFIG, "sm_90")
    others = [
        compiled_key("recurrent", PROBLEM, {**CONFIG, "num_warps": 4}, "sm_90"),
        compiled_key("recurrent", PROBLEM, {**CONFIG, "BV": 32}, "sm_90"),
        compiled_key("recurrent", replace(PROBLEM, dtype="fp16"), CONFIG, "sm_90"),
        compiled_key("recurrent", PROBLEM, CONFIG, "sm_80"),
    ]
    assert len({key, *others}) == 5
