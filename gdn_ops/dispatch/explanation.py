"""Explain: which variant a call runs on, from which row, and why not the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import torch

from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.saving_cost import Kept, input_bytes, kept_by_choice
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.bindings import choice_for
from gdn_ops.dispatch.choice import Choice, Refusal, choose, stored_winners
from gdn_ops.dispatch.device import local_device, target_of
from gdn_ops.dispatch.mode import MODE
from gdn_ops.dispatch.winners import SkippedRow, Winner
from gdn_ops.ops.call_problem import asks_gradient, problem_of_call
from gdn_ops.seconds import seconds_text


@dataclass(frozen=True)
class Explanation:
    """Why a problem runs on its variant; ``str()`` is the text for a person.

    Args:
        choice: the variant, how it was found, and its row if it has one.
        others: every plan that was not chosen, with the reasons.
        skipped: rows of the databases that could not be used.
        gradients: the same of the call's backward, where it records gradients.
        kept: of a backward, every choice of what stays in memory for it from the forward.
        keep: which of them is in force, see ``gdn_ops.saving_for_backward``.
    """

    choice: Choice
    others: tuple[Refusal, ...]
    skipped: tuple[SkippedRow, ...]
    gradients: Explanation | None = None
    kept: tuple[Kept, ...] = ()
    keep: str = "inputs"

    @property
    def variant(self) -> Variant:
        return self.choice.variant

    def __str__(self) -> str:
        choice = self.choice
        lines = [
            f"problem  {choice.problem.id()}",
            f"target   {choice.target.name}",
            f"runs on  {choice.variant.id}: {choice.variant}",
            *_because(choice),
        ]
        if self.kept:
            lines += self._keeps()
        notes = [(r.candidate, "; ".join(r.reasons)) for r in (*choice.refused, *self.others)]
        lines += [f"not      {candidate}: {why}" for candidate, why in dict(notes).items()]
        lines += [
            f"skipped  row of {s.problem_id} in {s.database}: {s.reason}" for s in self.skipped
        ]
        if self.gradients is not None:
            lines += ["", str(self.gradients)]
        return "\n".join(lines)

    def _keeps(self) -> list[str]:
        size = input_bytes(self.choice.problem)
        lines = [f"keeps    the inputs, {size:.0f} bytes per token and value head, the model's own"]
        for text, rows in groupby(self.kept, str):
            names = [row.keep + " (in force)" * (row.keep == self.keep) for row in rows]
            lines.append(f"         {', '.join(names)}: {text}")
        return lines


def explain(
    *call: Any,
    target: str | Target | None = None,
    device: torch.device | str | None = None,
    **kwargs: Any,
) -> Explanation:
    """Explain the choice for a call, or for a problem.

    Args:
        call: the arguments of a call as to ``chunk_gated_delta_rule`` (with the keyword arguments),
            or one Problem.
        target: explain for this target (a name such as ``h200``), which need not be here.
        device: explain for this torch device; default: the call's device, or for a Problem the
            first GPU or else the CPU.

    Raises:
        InvalidInput: a tensor is outside the contract, or the device is not in this machine.
        UnsupportedProblem: no plan can run it; lists every reason.
        UnknownName: the target is unknown.
    """
    gradients = False
    if call and isinstance(call[0], Problem):
        problem = call[0]
        default = "cuda" if torch.cuda.is_available() else "cpu"
    else:
        problem = problem_of_call(*call, **kwargs)
        gradients = asks_gradient(*call, **kwargs)
        default = str((call[0] if call else kwargs["q"]).device)
    find: Callable[[Problem], Choice]
    if target is not None:
        row = target_named(target) if isinstance(target, str) else target
        find = partial(choose, target=row)
    else:
        where = local_device(default if device is None else device)
        target_of(where)
        find = partial(choice_for, device=where)
    if problem.op == "backward":
        return _explanation(find(problem), find(replace(problem, op="forward")))
    if not gradients:
        return _explanation(find(problem))
    return _with_gradients(find(problem), find(problem.backward(final_state=problem.final_state)))


def _with_gradients(choice: Choice, backward: Choice) -> Explanation:
    """Of a call that records gradients; the forward may run on another variant for them."""
    gradients = _explanation(backward, choice)
    left = next(row.saved for row in gradients.kept if row.keep == gradients.keep)
    return replace(_explanation(replace(choice, variant=left.forward)), gradients=gradients)


def _explanation(choice: Choice, forward: Choice | None = None) -> Explanation:
    """Of one choice; ``forward`` is what comes before it where it is a backward."""
    named = {refusal.candidate for refusal in choice.refused}
    others = tuple(
        Refusal(f"plan {name}", reasons)
        for name in PLANS
        if name != choice.variant.plan and f"plan {name}" not in named
        for reasons in [_plan_reasons(name, choice)]
    )
    mode = MODE.get()
    kept = () if forward is None else kept_by_choice(
        forward.variant, forward.problem, choice.variant, choice.problem, choice.target,
        fixed=isinstance(mode.forced, Variant),
    )  # fmt: skip
    skipped = stored_winners().skipped
    return Explanation(choice, others, skipped, kept=kept, keep=mode.keep)


def _plan_reasons(name: str, choice: Choice) -> tuple[str, ...]:
    reasons = Variant.default(name, choice.problem).reasons(choice.problem, choice.target)
    if reasons:
        return tuple(reasons)
    if choice.winner is None:
        return ("it was not asked for",)
    if choice.winner.provenance == "predicted":
        return (f"`gdn predict` found plan {choice.variant.plan} faster; nothing is measured yet",)
    return (f"row {choice.winner.trial_id} was the fastest of what was measured",)


def _because(choice: Choice) -> list[str]:
    if choice.winner is None:
        why = {
            "forced": "gdn_ops.using(...) asks for it",
            "fallback": "no stored winner fits; plan torch runs anywhere (`gdn tune` finds better)",
        }
        return [f"because  {why[choice.how]}"]
    row = choice.winner.trial_id
    place = "stored in" if row is None else f"row {row} of"
    lines = [f"because  {choice.how} winner: {place} {choice.winner.database}"]
    return lines + _row(choice.winner)


def _row(winner: Winner) -> list[str]:
    text = f"         {winner.provenance} {seconds_text(winner.median)}"
    if winner.provenance == "measured":
        text += f" [{seconds_text(winner.low)}, {seconds_text(winner.high)}]"
    if winner.speedup is not None:
        text += f", {winner.speedup:.2f} times the reference's speed"
    where = ", ".join(
        part
        for part in (
            winner.device,
            f"torch {winner.torch}" if winner.torch else None,
            f"Triton {winner.triton}" if winner.triton else None,
            winner.created,
        )
        if part
    )
    lines = [text, f"         for {winner.problem_id} on {winner.target}; {where}"]
    if winner.stale:
        lines.append(
            "         stale: measured with other templates than today's; "
            "`gdn tune --again` renews it"
        )
    return lines
