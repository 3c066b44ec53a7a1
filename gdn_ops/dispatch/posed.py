"""The problem that a call poses, found by making the call without running it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch.mode import asking
from gdn_ops.errors import InvalidInput


@dataclass(frozen=True)
class Posed:
    """What a call poses.

    Args:
        problem: the problem of its forward.
        device: the device that it runs on.
        gradients: whether it records gradients.
    """

    problem: Problem
    device: torch.device
    gradients: bool


class Answer(Exception):
    """Raised by the dispatcher inside ``asking``, in place of choosing and running a variant."""

    def __init__(self, posed: Posed) -> None:
        self.posed = posed


def posed_by(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Posed:
    """Return what a call of one of our functions poses.

    Its arguments are checked as in the call, and prepared where it does that before it chooses a
    variant, e.g. a bounded gate is activated. No variant is chosen or run.

    Raises:
        InvalidInput: the function is none of ours, or as the call itself would raise it.
        UnsupportedProblem: the call does not run on a variant.
    """
    ours = __name__.partition(".")[0]
    home = str(getattr(function, "__module__", None)).partition(".")[0]
    if home != ours:
        raise InvalidInput(
            f"{shown(function)} is not a function of {ours}; give one, e.g. "
            f"{ours}.chunk_gated_delta_rule, with its arguments, a Problem or a model."
        )
    try:
        with asking():
            function(*args, **kwargs)
    except Answer as answer:
        return answer.posed
    raise InvalidInput(
        f"{getattr(function, '__name__', shown(function))} chooses no kernel; give a function such "
        f"as {ours}.chunk_gated_delta_rule."
    )
