"""The counts as rows of tables, and in files."""

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
    "Counted, not timed. Bytes are a token's of a value head, each tensor of each launch once; "
    "launches in brackets are those with HV = H. Registers, stack (bytes of spilled registers) "
    "and shared memory are a plan's greatest; matrix and all SASS instructions are the sum of its "
    "kernels' code, in which a loop stands once, so they measure size and not time. PyTorch's own "
    "kernels (aten) have bytes alone. Ours by their defaults; of each kernel of "
    f"{PEER} the config of its tuning list that spills least, and of these the one of fewest "
    f"instructions. Backwards start from the inputs alone. {PEER}'s also reads the inverse A "
    "and the gate's sums of the forward, as ours does keeping inverse; keeping states, it reads "
    "all that the same plan's forward makes."
)

Pair = tuple[Counted, Counted | None]
"""A plan's counts with grouped heads, and with as many query/key heads as value heads."""


def plan_row(pair: Pair) -> tuple[str, ...]:
    """One plan: sums and maxima over its launches."""
    grouped, alike = pair
    needs = grouped.needs
    launches = str(len(grouped.launches))
    if alike is not None and len(alike.launches) != len(grouped.launches):
        launches += f" ({len(alike.launches)})"
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
        "-" if alike is None else f"{alike.bytes:.0f}",
        *numbers,
        *code,
    )


def kernel_row(plan: str, launch: Launch) -> tuple[str, ...]:
    """One launch."""
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
    """What the counts hold for."""
    return {
        "target": f"{target.name} ({target.arch})",
        "problem": problem.id().removeprefix(f"{problem.op}-"),
        **{name: _version(name) for name in ("triton", "torch", PEER)},
        "python": platform.python_version(),
    }


def markdown(pairs: Sequence[Pair], about: Mapping[str, str]) -> str:
    """Both tables."""
    heading = ", ".join(f"{name} {value}" for name, value in about.items())
    kernels = [kernel_row(f"{p.plan} {p.problem.op}", x) for p, _ in pairs for x in p.launches]
    plans = _table(PLANS, [plan_row(pair) for pair in pairs])
    return f"{heading}\n\n{HOW}\n\n{plans}\n\n{_table(KERNELS, kernels)}\n"


def write(pairs: Sequence[Pair], about: Mapping[str, str], out: Path) -> None:
    """Write everything that was counted as JSON, and the tables beside it as Markdown."""
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
