"""The comparison as Markdown tables: medians, ratios and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

from bench.compare.cases import Case
from gdn_ops.seconds import seconds_text
from gdn_ops.verify.accuracy import NOT_FINITE

OURS = "ours"
Measured = Sequence[tuple[Case, Mapping[str, Any]]]

WRONG = 0.05
"""An error above this is not rounding, not even in 16 bits: the call computes something else."""

TIMED = """All contenders get the same tensors: normalised q and k, log decays, beta in [0, 1], and
initial and final states. The time includes all work on them, such as cumulative sums of the gates
and copies, except what a model prepares once: tables of packed sequences (by `cu_seqlens`), and
FlashInfer's formats of decays and states. Our forward is the public function with its checks and
dispatch. FLA and FlashQLA are called below their public functions, as in FlashQLA's benchmark,
which leaves out the host time of autograd; a CUDA graph has no host time. A backward gets what the
forward saved: for FLA the cumulative gates and A, for FlashQLA these and states at its segments,
for `ours` only the inputs, for `ours keeping inverse` the same as for FLA. FlashInfer decodes in
place, with gate and sigmoid; the others write a new state. For transformers the time includes
repeating the query and key heads for the value heads, as its layers do."""


def wrong(answer: Mapping[str, Any], name: str) -> str:
    """Return which outputs of a contender are wrong, with their errors; empty if none is."""
    found = answer.get("contenders", {}).get(name, {}).get("errors", {})
    off = [f"{output} is off by {_error_text(e)}" for output, e in found.items() if e > WRONG]
    return ", ".join(off)


def seconds(answer: Mapping[str, Any], name: str, method: str) -> float | None:
    """Return the median time of a contender; None if it was not timed or its result is wrong."""
    times = answer.get("contenders", {}).get(name, {}).get("times", {})
    return times[method]["median"] if method in times and not wrong(answer, name) else None


def methods(measured: Measured) -> list[str]:
    """Return the methods with which anything was timed."""
    return list(
        dict.fromkeys(
            method
            for _, answer in measured
            for contender in answer.get("contenders", {}).values()
            for method in contender.get("times", {})
        )
    )


def markdown(measured: Measured, names: Sequence[str], heading: str) -> str:
    """Return the report: one table per method, then the errors, then what was not timed."""
    parts = [heading, TIMED]
    for method in methods(measured):
        parts += [
            f"## {method}",
            _times(measured, names, method),
            _summary(measured, names, method),
        ]
    parts += ["## Errors", "RMS error against fp64, the largest of all cases.",
              _errors(measured, names)]  # fmt: skip
    if missing := _missing(measured, names):
        parts += ["## Not timed", missing]
    if doubts := _doubts(measured):
        parts += ["## Doubtful timings", doubts]
    return "\n\n".join(parts) + "\n"


def _times(measured: Measured, names: Sequence[str], method: str) -> str:
    peers = [name for name in names if name != OURS]
    rows = [
        "| case | " + " | ".join(names) + " | best peer / ours |",
        "|---" * (len(names) + 2) + "|",
    ]
    for case, answer in measured:
        times = {name: seconds(answer, name, method) for name in names}
        theirs = [s for name in peers if (s := times[name]) is not None and name[:4] != OURS]
        mine = times.get(OURS)
        ratio = min(theirs) / mine if theirs and mine else None
        cells = ["-" if s is None else seconds_text(s) for s in times.values()]
        mark = "-" if ratio is None else f"{ratio:.2f}x" + (" lost" if ratio < 1 else "")
        rows.append(f"| {case.name} | " + " | ".join(cells) + f" | {mark} |")
    return "\n".join(rows)


def _summary(measured: Measured, names: Sequence[str], method: str) -> str:
    lines = []
    for op in dict.fromkeys(case.op for case, _ in measured):
        of_op = [answer for case, answer in measured if case.op == op]
        for name in names:
            if name == OURS:
                continue
            ratios = _ratios(of_op, name, method)
            if ratios:
                mean = exp(sum(map(log, ratios)) / len(ratios))
                won = sum(ratio >= 1 for ratio in ratios)
                lines.append(
                    f"- {op}: {mean:.2f}x {name}, geometric mean of {len(ratios)} rows, "
                    f"{min(ratios):.2f}x to {max(ratios):.2f}x; as fast or faster in {won}"
                )
    return "\n".join(lines)


def _ratios(answers: Sequence[Mapping[str, Any]], name: str, method: str) -> list[float]:
    pairs = ((seconds(a, name, method), seconds(a, OURS, method)) for a in answers)
    return [theirs / mine for theirs, mine in pairs if theirs is not None and mine is not None]


def _errors(measured: Measured, names: Sequence[str]) -> str:
    rows = ["| op | output | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    worst: dict[tuple[str, str], dict[str, float]] = {}
    for case, answer in measured:
        for name, contender in answer.get("contenders", {}).items():
            for output, error in contender.get("errors", {}).items():
                cell = worst.setdefault((f"{case.op} {case.dtype}", output), {})
                cell[name] = max(cell.get(name, 0.0), error)
    for (op, output), by_name in worst.items():
        cells = [_error_text(by_name[name]) if name in by_name else "-" for name in names]
        rows.append(f"| {op} | {output} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _missing(measured: Measured, names: Sequence[str]) -> str:
    reasons: dict[tuple[str, str], int] = {}
    for _, answer in measured:
        if "failed" in answer:
            key = ("all", answer["failed"])
            reasons[key] = reasons.get(key, 0) + 1
        for name in names:
            found = answer.get("contenders", {}).get(name, {})
            why = found.get("refused") or found.get("failed") or wrong(answer, name)
            if why:
                reasons[name, why] = reasons.get((name, why), 0) + 1
    return "\n".join(f"- {name}, {count} cases: {why}" for (name, why), count in reasons.items())


def _doubts(measured: Measured) -> str:
    """List reasons to doubt the timings: a throttled or shared GPU, a warm cache."""
    flags = [f for _, a in measured for f in a.get("conditions", {}).get("warnings", ())]
    return "\n".join(f"- {flags.count(flag)} cases: {flag}" for flag in dict.fromkeys(flags))


def _error_text(error: float) -> str:
    return "NaN" if error >= NOT_FINITE else f"{error:.1e}"
