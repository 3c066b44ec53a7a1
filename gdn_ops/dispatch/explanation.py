"""Explanation: the variant that a problem runs on, where it was found, and why not another one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby

from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.plans.refusal import gpu_reason
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.saving_cost import Kept, input_bytes, kept_by_choice
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import Choice, Refusal, stored_winners, unverified
from gdn_ops.dispatch.current_mode import MODE
from gdn_ops.dispatch.finder import Finder
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winner_table import SkippedRow
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.moment import moment_text
from gdn_ops.seconds import seconds_text


@dataclass(frozen=True)
class Explanation:
    """Why a problem runs on its variant, or on nothing; ``str()`` gives a readable text.

    Args:
        problem: the problem.
        found: the variant, how it was found, and its row in the database if it has one; None if
            nothing can run the problem.
        refusal: why nothing can run it.
        others: every plan that was not chosen, with the reasons.
        skipped: rows of the databases that could not be used.
        gradients: the explanation of the backward; None if the call records no gradients.
        kept: for a backward: each setting of ``gdn_ops.saving_for_backward``, with the tensors
            that it keeps in memory from the forward.
        keep: the setting in force.
        verified: when and where the variant was verified, if it is explained for a GPU of this
            machine; else empty.
    """

    problem: Problem
    found: Choice | None
    refusal: str = ""
    others: tuple[Refusal, ...] = ()
    skipped: tuple[SkippedRow, ...] = ()
    gradients: Explanation | None = None
    kept: tuple[Kept, ...] = ()
    keep: str = "inputs"
    verified: str = ""

    @property
    def choice(self) -> Choice:
        """What the problem runs on.

        Raises:
            UnsupportedProblem: nothing can run it.
        """
        if self.found is None:
            raise UnsupportedProblem(self.refusal)
        return self.found

    @property
    def variant(self) -> Variant:
        """The variant of ``choice``; it raises what that raises."""
        return self.choice.variant

    def __str__(self) -> str:
        return self.text()

    def text(self, *, every_plan: bool = False) -> str:
        """The explanation as lines of text.

        Args:
            every_plan: on a CPU, also give each plan that needs a GPU its own line.
        """
        lines = [f"problem  {self.problem.id()}"]
        if self.found is None:
            lines += self._refusal_lines()
        else:
            lines += self._choice_lines(self.found, every_plan)
        if self.gradients is not None:
            lines += ["", self.gradients.text(every_plan=every_plan)]
        return "\n".join(lines)

    def _refusal_lines(self) -> list[str]:
        first, *rest = self.refusal.splitlines()
        return ["runs on  nothing", f"because  {first}", *(f"         {line}" for line in rest)]

    def _choice_lines(self, choice: Choice, every_plan: bool) -> list[str]:
        lines = [
            f"target   {choice.target.name}",
            f"runs on  {'provider ' * bool(choice.variant.provider)}{choice.variant.named}",
            *_because(choice),
        ]
        if self.verified:
            lines.append(f"verified {self.verified.removeprefix('verified ')}")
        if self.kept:
            lines += self._saved_lines(choice)
        notes = {r.candidate: r.reasons for r in (*choice.refused, *self.others)}
        on_gpus = [] if every_plan else [
            name for name in PLANS
            if gpu_reason(name, choice.target) in notes.get(f"plan {name}", ())
        ]  # fmt: skip
        lines += [
            f"not      {candidate}: {'; '.join(why)}" for candidate, why in notes.items()
            if candidate.removeprefix("plan ") not in on_gpus
        ]  # fmt: skip
        if on_gpus:
            lines.append(
                f"not      plans {', '.join(on_gpus)}: made of GPU kernels, and target "
                f"{choice.target.name} is not a GPU"
            )
        return lines + [
            f"skipped  row of {s.problem_id} in {s.database}: {s.reason}" for s in self.skipped
        ]

    def _saved_lines(self, choice: Choice) -> list[str]:
        size = input_bytes(choice.problem)
        lines = [
            f"saves    the inputs, {size:.0f} bytes per token and value head, which the model "
            "holds anyway"
        ]
        for text, equal in groupby(self.kept, str):
            names = [kept.keep + " (in force)" * (kept.keep == self.keep) for kept in equal]
            lines.append(f"         {', '.join(names)}: {text}")
        return lines


def explained_problem(problem: Problem, find: Finder) -> Explanation:
    """Explain what a problem runs on; a backward with what it keeps from its forward."""
    forward = None
    if problem.op == "backward":
        forward = explained_problem(replace(problem, op="forward"), find).found
    return _explained(problem, find, forward)


def _explained(problem: Problem, find: Finder, forward: Choice | None = None) -> Explanation:
    """Explain a problem; ``forward`` is the forward's choice if the problem is its backward."""
    try:
        choice = find(problem)
    except UnsupportedProblem as error:
        return Explanation(problem, None, str(error))
    return _explanation(choice, forward)


def with_gradients(explanation: Explanation, find: Finder) -> Explanation:
    """Explain a call that records gradients, given what is found for one that does not.

    Its forward may run on another variant than without gradients, to save tensors for them.
    """
    problem, choice = explanation.problem, explanation.found
    backward = problem.backward(final_state=problem.final_state)
    gradients = _explained(backward, find, choice)
    if choice is not None and gradients.found is not None:
        saved = next(kept.saved for kept in gradients.kept if kept.keep == gradients.keep)
        explanation = _explanation(replace(choice, variant=saved.forward))
    return replace(explanation, gradients=gradients)


def _explanation(choice: Choice, forward: Choice | None = None) -> Explanation:
    """Explain one choice; ``forward`` is the forward's choice if it is for a backward."""
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
    skipped = stored_winners(choice.target).skipped
    verified = ""
    if choice.here:
        # imports PyTorch, which an explanation for a named target does without
        from gdn_ops.dispatch.first_use import standing

        verified = standing(choice).text
    return Explanation(
        choice.problem, choice, others=others, skipped=skipped, kept=kept, keep=mode.keep,
        verified=verified,
    )  # fmt: skip


def _plan_reasons(name: str, choice: Choice) -> tuple[str, ...]:
    reasons = Variant.default(name, choice.problem).reasons(choice.problem, choice.target)
    if reasons:
        return tuple(reasons)
    measured = choice.winner is not None and choice.winner.provenance == "measured"
    if not measured and (why := unverified(name, choice.target)):
        return tuple(why)
    if choice.how == "default":
        return ("nothing was measured, and the chosen plan's default comes first",)
    if choice.winner is None:
        return ("not requested",)
    if choice.winner.provenance == "predicted":
        return (
            f"`gdn predict` expects plan {choice.variant.plan} to be faster; nothing was measured",
        )
    return (f"row {choice.winner.trial_id} was the fastest one measured",)


def _because(choice: Choice) -> list[str]:
    if choice.winner is None:
        why = {
            "forced": "gdn_ops.using(...) requests it",
            "default": "no stored winner fits, and this is the default of the first plan that runs "
            "here; `gdn tune` finds a faster variant",
            "fallback": "no stored winner fits, and plan torch runs on every device; `gdn tune` "
            "finds a faster variant",
        }
        return [f"because  {why[choice.how]}"]
    row = choice.winner.trial_id
    place = "stored in" if row is None else f"row {row} of"
    lines = [f"because  {choice.how} winner: {place} {choice.winner.database}"]
    other = choice.winner.problem_id != choice.problem.id()
    return lines + _winner_lines(choice.winner, "the nearest problem, " if other else "")


def _winner_lines(winner: Winner, nearest: str) -> list[str]:
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
            moment_text(winner.created),
        )
        if part
    )
    lines = [text, f"         for {nearest}{winner.problem_id} on {winner.target}; {where}"]
    if winner.stale:
        lines.append(f"         stale: {winner.stale}; `gdn tune --stale` measures again")
    if winner.doubtful:
        lines.append(
            f"         doubtful: {winner.doubtful}; `gdn tune` measures again on a calm machine"
        )
    return lines
