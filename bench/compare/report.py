"""The comparison as tables: medians, ratios, errors, and what was lost as plain as what was won."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

from bench.compare.cases import Case
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.verify.accuracy import NOT_FINITE

OURS = "ours"
Measured = Sequence[tuple[Case, Mapping[str, Any]]]

WRONG = 0.05
"""An error above this is no rounding, in 16 bits neither: the time is that of something else."""

TIMED = """All get the same tensors: q and k of length one, gates as log decays, beta in 0..1,
states in and out. What each library makes of them is timed, sums of the gates and copies too, but
for what a model keeps: tables of packed sequences (by `cu_seqlens`), and FlashInfer's own forms of
decays and states. Forwards of ours are the public call with its checks and dispatch. FLA and
FlashQLA are called by the functions beneath their public ones, as FlashQLA's own benchmark does,
which spares them the time of autograd on the host; a CUDA graph has no time of the host. Backwards
get what the forward kept: of FLA the gate's sums and A, of FlashQLA these and the states at its
cuts, of `ours` the inputs alone, of `ours keeping inverse` what FLA's gets. FlashInfer decodes in
place, with gate and sigmoid; the others write a new state. transformers' queries and keys are
repeated for their value heads within its time, as its layers do."""


def wrong(answer: Mapping[str, Any], name: str) -> str:
    """The output of a contender that is not the rule's, and how far it is off; empty if none is."""
    own = answer.get("contenders", {}).get(name, {}).get("errors", {})
    off = [f"{output} is off by {_shown(error)}" for output, error in own.items() if error > WRONG]
    return ", ".join(off)


def seconds(answer: Mapping[str, Any], name: str, method: str) -> float | None:
    """The median of a contender, None where it has none or is wrong."""
    times = answer.get("contenders", {}).get(name, {}).get("times", {})
    return times[method]["median"] if method in times and not wrong(answer, name) else None


def methods(measured: Measured) -> list[str]:
    """The methods by which anything was timed."""
    return list(
        dict.fromkeys(
            method
            for _, answer in measured
            for own in answer.get("contenders", {}).values()
            for method in own.get("times", {})
        )
    )


def markdown(measured: Measured, names: Sequence[str], heading: str) -> str:
    """Everything as Markdown: a table a method, then errors, then what could not be timed."""
    parts = [heading, TIMED]
    for method in methods(measured):
        parts += [
            f"## {method}",
            _times(measured, names, method),
            _summary(measured, names, method),
        ]
    parts += ["## Errors", "RMS against fp64, the worst output of all cases.",
              _errors(measured, names)]  # fmt: skip
    if missing := _missing(measured, names):
        parts += ["## Not timed", missing]
    if doubts := _doubts(measured):
        parts += ["## Doubts", doubts]
    return "\n\n".join(parts) + "\n"


def _times(measured: Measured, names: Sequence[str], method: str) -> str:
    peers = [name for name in names if name != OURS]
    rows = [
        "| case | " + " | ".join(names) + " | best peer / ours |",
        "|---" * (len(names) + 2) + "|",
    ]
    for case, answer in measured:
        own = {name: seconds(answer, name, method) for name in names}
        theirs = [s for name in peers if (s := own[name]) is not None and name[:4] != OURS]
        mine = own.get(OURS)
        ratio = min(theirs) / mine if theirs and mine else None
        cells = ["-" if s is None else seconds_text(s) for s in own.values()]
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
                    f"- {op}: {mean:.2f}x {name} in the geometric mean of {len(ratios)} rows, "
                    f"{min(ratios):.2f}x to {max(ratios):.2f}x; as fast or faster in {won}"
                )
    return "\n".join(lines)


def _ratios(answers: Sequence[Mapping[str, Any]], name: str, method: str) -> list[float]:
    pairs = ((seconds(a, name, method), seconds(a, OURS, method)) for a in answers)
    return [theirs / own for theirs, own in pairs if theirs is not None and own is not None]


def _errors(measured: Measured, names: Sequence[str]) -> str:
    rows = ["| op | output | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    worst: dict[tuple[str, str], dict[str, float]] = {}
    for case, answer in measured:
        for name, own in answer.get("contenders", {}).items():
            for output, error in own.get("errors", {}).items():
                cell = worst.setdefault((f"{case.op} {case.dtype}", output), {})
                cell[name] = max(cell.get(name, 0.0), error)
    for (op, output), by_name in worst.items():
        cells = [_shown(by_name[name]) if name in by_name else "-" for name in names]
        rows.append(f"| {op} | {output} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _missing(measured: Measured, names: Sequence[str]) -> str:
    reasons: dict[tuple[str, str], int] = {}
    for _, answer in measured:
        if "failed" in answer:
            key = ("all", answer["failed"])
            reasons[key] = reasons.get(key, 0) + 1
        for name in names:
            own = answer.get("contenders", {}).get(name, {})
            why = own.get("refused") or own.get("failed") or wrong(answer, name)
            if why:
                reasons[name, why] = reasons.get((name, why), 0) + 1
    return "\n".join(f"- {name}, {count} cases: {why}" for (name, why), count in reasons.items())


def _doubts(measured: Measured) -> str:
    """What the timer doubts: a throttled or shared GPU, a warm cache."""
    flags = [f for _, a in measured for f in a.get("conditions", {}).get("warnings", ())]
    return "\n".join(f"- {flags.count(flag)} cases: {flag}" for flag in dict.fromkeys(flags))


def _shown(error: float) -> str:
    return "NaN" if error >= NOT_FINITE else f"{error:.1e}"
