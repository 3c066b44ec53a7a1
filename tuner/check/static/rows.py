"""Rows: the verdict of one kernel or variant against its baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from gdn_ops.codegen.dtype import IO_DTYPES
from gdn_ops.codegen.problem import OPS
from gdn_ops.tuner.check.outcome import CheckRow, Difference
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.check.static.baseline import KernelRecord
from gdn_ops.tuner.check.static.cause import COMPILER
from gdn_ops.tuner.check.static.compiling import Built
from gdn_ops.tuner.check.static.kernel import Kernel
from gdn_ops.tuner.check.static.rules import Limits, Rule, differing, rule_of, verdict

CauseOf = Callable[[str], str]
"""The cause of a figure's change."""


def compared(
    base: Mapping[str, float],
    head: Mapping[str, float],
    *,
    cause_of: CauseOf,
    limits: Limits,
    same: bool,
    reasons: Sequence[str] = (),
) -> tuple[State, str, tuple[Difference, ...]]:
    """The state of a row, why, and every figure that differs.

    Args:
        base, head: figures by name; those that are not listed are 0.
        same: whether code, configuration and compiler are the same.
        reasons: races of the head, and why it cannot be launched.
    """
    differences, words, found = [], [], []
    for figure in differing(base, head):
        rule = rule_of(figure)
        assert rule is not None
        old, new = base.get(figure, 0), head.get(figure, 0)
        judged, cause = verdict(rule, old, new, limits), cause_of(figure)
        found.append(judged)
        failing = judged == "worse"
        differences.append(
            Difference(figure=figure, base=old, head=new, cause=cause, failing=failing)
        )
        if judged:
            words.append((failing, f"{figure} {_change(old, new, rule)}, cause: {cause}"))
    if "worse" in found:
        said = [text for failing, text in words if failing]
        return State.REGRESSED, _sentence(said, reasons), tuple(differences)
    if "better" in found:
        return State.IMPROVED, _sentence([text for _, text in words]), tuple(differences)
    if differences:
        return State.PASSED, "", tuple(differences)
    if same:
        return State.UNCHANGED, "", ()
    return State.PASSED, "other code, configuration or compiler, and the same figures", ()


def kernel_row(
    head: Kernel,
    base: KernelRecord | None,
    built: Built,
    *,
    cause_of: CauseOf,
    limits: Limits,
    same: bool,
) -> CheckRow:
    """The row of a kernel that ships.

    Args:
        base: None if the baseline has no such kernel.
        built: what became of it today.
    """
    differences: tuple[Difference, ...] = ()
    if built.crashed:
        state, message = State.CRASHED, built.crashed
    elif built.figures is None:
        state, message = State.ENVIRONMENT, built.unreadable
    elif base is None:
        # a new kernel has no figures to compare, but it must not race and must be launchable
        state = State.REGRESSED if built.reasons else State.NEW
        message = _sentence([], built.reasons)
    else:
        state, message, differences = compared(
            base.figures, built.figures, cause_of=cause_of, limits=limits, same=same,
            reasons=built.reasons,
        )  # fmt: skip
    return CheckRow(
        target=head.target.arch,
        op=head.problem.op,
        name=head.name,
        dtype=head.problem.dtype,
        state=state,
        message=message,
        base=None if base is None else f"{base.config} {base.options}".strip(),
        head=f"{head.config} {head.options}".strip(),
        figures=built.figures or {},
        differences=differences,
        file=head.file,
        seconds=built.seconds,
    )


def removed_row(
    arch: str, name: str, problem: str, words: str, refused: str | None = None
) -> CheckRow:
    """The row of a kernel or variant that no longer ships.

    Args:
        problem: the id of its problem.
        words: its configuration, or its stages.
        refused: why the default variant of this name can no longer run; None if there is none.
    """
    op, dtype = facts_of(problem)
    message = "" if refused is None else f"its default no longer runs there: {refused}"
    state = State.REMOVED if refused is None else State.REGRESSED
    return CheckRow(
        target=arch, op=op, name=name, dtype=dtype, state=state, message=message, base=words
    )


def skipped_row(head: Kernel, message: str) -> CheckRow:
    """The row of a kernel that is not compared."""
    return CheckRow(
        target=head.target.arch, op=head.problem.op, name=head.name, dtype=head.problem.dtype,
        state=State.ENVIRONMENT, message=message, file=head.file,
    )  # fmt: skip


def facts_of(problem: str) -> tuple[str, str]:
    """Op and dtype of a problem's id; empty where it is not one."""
    words = problem.split("-")
    op = words[0] if words[0] in OPS else ""
    return op, next((word for word in words if word in IO_DTYPES), "")


def across_row(
    kernel: Kernel, installed: Built, other: Built, *, versions: tuple[str, str], limits: Limits
) -> CheckRow:
    """The row of a kernel compiled by another Triton than the installed one.

    Args:
        versions: of the installed Triton and of the other one.
    """
    differences: tuple[Difference, ...] = ()
    if other.crashed:
        state, message = State.CRASHED, other.crashed
    elif other.figures is None or installed.figures is None:
        state = State.ENVIRONMENT
        message = other.unreadable or "the installed Triton does not compile it"
    else:
        state, message, differences = compared(
            installed.figures, other.figures, cause_of=lambda _: COMPILER, limits=limits,
            same=False, reasons=other.reasons,
        )  # fmt: skip
    return CheckRow(
        target=kernel.target.arch,
        op=kernel.problem.op,
        name=f"{kernel.name} (Triton {versions[1]})",
        dtype=kernel.problem.dtype,
        state=state,
        message=message,
        base=f"Triton {versions[0]}",
        head=f"Triton {versions[1]}",
        figures=other.figures or {},
        differences=differences,
        file=kernel.file,
        seconds=other.seconds,
    )


def _change(base: float, head: float, rule: Rule) -> str:
    """E.g. ``0 -> 80 bytes per thread``, or ``1007 -> 1085 (+7.7 %)`` of what has a threshold."""
    text = f"{base:.12g} -> {head:.12g} {rule.unit}".rstrip()
    return f"{text} ({head / base - 1:+.1%})" if rule.within and base else text


def _sentence(parts: Sequence[str], reasons: Sequence[str] = ()) -> str:
    return "; ".join([*parts, *reasons])
