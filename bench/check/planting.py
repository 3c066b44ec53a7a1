"""Planting a slow-down: a copy of the code whose kernel does extra work, of a chosen share."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.bind import bind
from gdn_ops.launch.call import Call
from gdn_ops.tuner.measure.calls import calls_of
from gdn_ops.tuner.measure.measurement import run_of
from gdn_ops.tuner.measure.timers import timer_of

TEMPLATE = Path("templates") / "torch" / "torch_chunk.py.jinja"
AFTER = '{{ steps() | trim("\\n") }}\n'
"""The line of the template that the extra work comes after."""
PARTS = ("codegen", "templates", "tuner", "gdn_ops")
UNIT = 32
"""Rows and columns of the extra products, which take a few microseconds each."""
WORK = f"""\
    planted = "x".join(map(str, (*q.shape, *v.shape[2:], q.dtype)))
    unit = torch.ones({UNIT}, {UNIT})
    for _ in range({{extra!r}}.get(planted, {{none}})):
        unit @ unit
"""
"""The extra work as it stands in the template: a number of small products by ``key``."""
MANY = 100
"""Products that are timed to know what one takes."""
ROUNDS = 15
"""Samples of each time; the fastest counts, as the least disturbed."""


def copy(root: Path, folder: Path) -> Path:
    """A copy of the code in another folder, with the links between its parts."""
    for part in PARTS:
        shutil.copytree(
            root / part, folder / part, symlinks=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
    shutil.copy(root / "results.db", folder / "results.db")
    return folder


def plant(folder: Path, extra: Mapping[str, int]) -> None:
    """Let the kernel of a copy multiply small matrices at each call.

    Args:
        extra: number of products by ``key`` of a problem.
    """
    path = folder / TEMPLATE
    text = path.read_text()
    if text.count(AFTER) != 1:
        raise RuntimeError(f"{path} does not have the line {AFTER!r} once; look where to plant.")
    work = WORK.format(extra=dict(extra), none=0)
    path.write_text(text.replace(AFTER, AFTER + work))


def key(problem: Problem) -> str:
    """How the planted code recognizes a problem by the tensors of a call."""
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[problem.dtype]
    shape = (1, problem.tokens, problem.H, problem.K, problem.HV, problem.V)
    return "x".join(map(str, (*shape, dtype)))


def products(problems: Sequence[Problem], share: float, *, threads: int) -> dict[str, int]:
    """The number of products that take a share of each problem's time, by ``key``."""
    device = torch.device("cpu")
    timer = timer_of(device, threads=threads)
    found = {}
    with torch.no_grad():
        for problem in problems:
            calls = calls_of(problem, timer, device)
            launcher = bind(problem, Variant.default("torch", problem))
            (sample,) = timer.samplers(run_of(launcher, calls), len(calls)).values()
            (stage,) = launcher.stages
            kernel = stage.function
            kernels = (kernel, _with_work(kernel, calls[0], 0), _with_work(kernel, calls[0], MANY))
            times: list[list[float]] = []
            for _ in range(ROUNDS):
                times.append([])
                for stage.function in kernels:
                    times[-1].append(sample())
            seconds, none, many = (min(column) for column in zip(*times, strict=True))
            wanted = share * seconds - (none - seconds)
            found[key(problem)] = max(0, round(wanted / (many - none) * MANY))
    return found


def _with_work(kernel: Callable[..., Any], call: Call, products: int) -> Callable[..., Any]:
    """A kernel that does ``WORK`` first, as a planted one does."""
    work = compile(textwrap.dedent(WORK.format(extra={}, none=products)), "planted", "exec")
    names = {"q": call.q, "v": call.v, "torch": torch}

    def planted(*arguments: Any) -> Any:
        exec(work, names)
        return kernel(*arguments)

    return planted
