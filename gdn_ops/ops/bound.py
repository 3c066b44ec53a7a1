"""The warm path of dispatch: a call's signature to its bound launcher."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.device import target_of
from gdn_ops.dispatch import (
    FORCED,
    Choice,
    choose,
    choose_forced,
    interpreter_target,
    stored_winners,
    warn_of_fallback,
)
from gdn_ops.launch import Launcher, bind

LIMIT = 4096
"""Signatures kept; a stream of ever new lengths must not fill the memory."""

BOUND: dict[Hashable, Launcher] = {}
_LAUNCHERS: dict[Hashable, Launcher] = {}


def choice_for(problem: Problem, device: torch.device) -> Choice:
    """The choice for a problem on a device, under ``using`` if that is in force."""
    forced = FORCED.get()
    if forced is None:
        return choose(problem, target_of(device))
    target = interpreter_target() if device.type == "cpu" else None
    return choose_forced(problem, target or target_of(device), forced)


def bind_signature(signature: Hashable, problem: Problem, device: torch.device) -> Launcher:
    """Choose, bind and remember; signatures of one bucket share one launcher."""
    choice = choice_for(problem, device)
    shared = (problem.bucket(), choice.variant, device)
    launcher = _LAUNCHERS.get(shared)
    if launcher is None:
        warn_of_fallback(choice, device)
        launcher = _LAUNCHERS[shared] = bind(problem, choice.variant)
    if len(BOUND) >= LIMIT:
        BOUND.clear()
    BOUND[signature] = launcher
    return launcher


def refresh() -> None:
    """Forget every choice and read the results databases anew, e.g. after ``gdn tune``."""
    BOUND.clear()
    _LAUNCHERS.clear()
    stored_winners.cache_clear()
