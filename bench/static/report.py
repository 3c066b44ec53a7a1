"""The counts as tables and files."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.static.launch import Counted, Launch
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

PEER = "flash-linear-attention"
PLANS = (
    "op", "plan", "launches>", "bytes, HV = 2 H>", "bytes, HV = H>", "registers>", "stack>",
    "shared>", "matrix", "instructions>",
)  # fmt: skip
KERNELS = (
    "plan", "kernel", "bytes>", "warps>", "registers>", "stack>", "shared>", "matrix",
    "instructions>", "config",
)  # fmt: skip
HOW = (
    "Counted, not timed. Bytes are per token and value head, with each tensor of each launch "
    "counted once; launches in brackets are for HV = H. Registers, stack (bytes of spilled "
    "registers) and shared memory are the maximum over the kernels of a plan. Matrix and all SASS "
    "instructions are the sum over its kernels, where a loop body counts once: they measure code "
    "size, not time. PyTorch's kernels (aten) have only bytes. Our plans have their default "
    f"configs; each kernel of {PEER} has the config of its autotuning list with the least "
    "spilling, and among these the fewest instructions. Backwards read only the inputs, except "
    f"where stated: {PEER}'s also reads the inverse A and the cumulative gates of the forward, as "
    "ours does with `keeping inverse`; with `keeping states` ours reads every tensor of the same "
    "plan's forward that it can."
)

Pair = tuple[Counted, Counted | None]
"""The counts of a plan with HV = 2 H and with HV = H."""


def plan_row(pair: Pair) -> tuple[str, ...]:
    """Return the row of a plan: sums and maxima over its launches."""
    grouped, equal = pair
    needs = grouped.needs
    launches = str(len(grouped.launches))
    if equal is not None and len(equal.launches) != len(grouped.launches):
        launches += f" ({len(equal.launches)})"
    limits = [(n.registers, n.stack, n.shared) for n in needs]
    numbers = [str(max(column)) for column in zip(*limits, strict=True)] or ["-"] * 3
    unknown = [launch.kernel for launch in grouped.launches if launch.remark]
    code = (_matrix(grouped.matrix), str(sum(n.instructions for n in needs)) if needs else "-")
    if unknown:
        numbers, code = ["?"] * 3, (f"see {', '.join(unknown)}", "?")
    return (
        grouped.problem.op,
        grouped.plan,
        launches,
        f"{grouped.bytes:.0f}",
        "-" if equal is None else f"{equal.bytes:.0f}",
        *numbers,
        *code,
    )


def kernel_row(plan: str, launch: Launch) -> tuple[str, ...]:
    """Return the row of a launch."""
    needs, start = launch.needs, (plan, launch.kernel, f"{launch.bytes:.0f}")
    if needs is None:
        return (*start, *("-",) * 6, launch.remark)
    numbers = (needs.warps, needs.registers, needs.stack, needs.shared)
    tried = f" (of {launch.compiled}, {launch.spilling} spill)" if launch.compiled > 1 else ""
    return (
        *start,
        *map(str, numbers),
        _matrix(needs.matrix),
        str(needs.instructions),
        " ".join(filter(None, [f"{launch.config}{tried}", launch.remark])),
    )


def conditions(target: Target, problem: Problem) -> dict[str, str]:
    """Return the conditions of the counts by name."""
    return {
        "target": f"{target.name} ({target.arch})",
        "problem": problem.id().removeprefix(f"{problem.op}-"),
        **{name: _version(name) for name in ("triton", "torch", PEER)},
        "python": platform.python_version(),
    }


def markdown(pairs: Sequence[Pair], about: Mapping[str, str]) -> str:
    """Return both tables as Markdown."""
    heading = ", ".join(f"{name} {value}" for name, value in about.items())
    kernels = [kernel_row(f"{p.plan} {p.problem.op}", x) for p, _ in pairs for x in p.launches]
    plans = _table(PLANS, [plan_row(pair) for pair in pairs])
    return f"{heading}\n\n{HOW}\n\n{plans}\n\n{_table(KERNELS, kernels)}\n"


def write(pairs: Sequence[Pair], about: Mapping[str, str], out: Path) -> None:
    """Write all counts as JSON, and the tables to a Markdown file next to it."""
    counts = [count.json() for pair in pairs for count in pair if count is not None]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"conditions": dict(about), "counts": counts}, indent=1) + "\n")
    out.with_suffix(".md").write_text(markdown(pairs, about))


def _matrix(kinds: Mapping[str, int]) -> str:
    return " ".join(f"{kind} {n}" for kind, n in kinds.items() if n) or "-"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = [column.removesuffix(">") for column in columns]
    rule = ["---:" if column.endswith(">") else "---" for column in columns]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
