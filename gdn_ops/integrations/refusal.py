"""Whether gdn_ops would run a call that another library hands over, asked before it runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch

from gdn_ops.dispatch.bindings import choice_for
from gdn_ops.dispatch.choice import Choice, winners_state
from gdn_ops.dispatch.first_use import failures
from gdn_ops.dispatch.mode import MODE
from gdn_ops.dispatch.posed import posed_by
from gdn_ops.errors import InvalidInput, UnsupportedProblem

LIMIT = 4096
"""Answers to remember; without a limit, ever new sequence lengths would fill the memory."""


class Refusals:
    """Answers whether gdn_ops would run a call of one function, from its arguments.

    Args:
        function: the function of gdn_ops.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._known: dict[Hashable, str | None] = {}
        self._state: tuple[object, int] = (None, 0)

    def reason(self, arguments: dict[str, Any]) -> str | None:
        """Return why gdn_ops would not run a call, or None if it would.

        No variant is run. On a GPU a call without a stored winner is refused too, and one that only
        a shipped prediction fits: the other library's kernels, which it tunes itself, are faster
        than defaults, and nobody has measured the predictions.
        """
        state = (winners_state(), failures())
        if state[0] is not self._state[0] or state[1] != self._state[1]:
            # New winners, and a winner that was found to be wrong here, may answer differently.
            self._known.clear()
            self._state = state
        try:
            key = (torch.is_grad_enabled(), MODE.get(), *map(_facts, arguments.items()))
            if key in self._known:
                return self._known[key]
        except (RuntimeError, TypeError):
            # A nested tensor has no shape, or a value has no hash: the checks report which.
            return self._find(arguments)
        if len(self._known) >= LIMIT:
            self._known.clear()
        self._known[key] = reason = self._find(arguments)
        return reason

    def _find(self, arguments: dict[str, Any]) -> str | None:
        try:
            posed = posed_by(self._function, **arguments)
            problems = [posed.problem]
            if posed.gradients:
                problems.append(posed.problem.backward(final_state=posed.problem.final_state))
            for each in problems:
                choice = choice_for(each, posed.device)
                if choice.target.gpu and not _tuned(choice):
                    return (
                        f"no tuned kernel for {each.bucket().id()} on {choice.target.name}; run "
                        "`gdn tune`, or `gdn predict`"
                    )
        except (InvalidInput, UnsupportedProblem, TypeError) as error:
            return str(error)
        return None


def _tuned(choice: Choice) -> bool:
    """Return whether the choice was measured, or its user asked for it or predicted it."""
    if choice.winner is None:
        return choice.how == "forced"
    return not choice.winner.ships_unmeasured


def _facts(item: tuple[str, Any]) -> Hashable:
    """Return what the answer may depend on: of a tensor its type, of a number its value."""
    name, x = item
    if isinstance(x, torch.Tensor):
        return name, type(x), x.shape, x.dtype, x.device, x.layout, x.requires_grad
    return name, type(x), x if isinstance(x, (bool, int, float)) else None
