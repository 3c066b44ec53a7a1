"""The warm path of dispatch: a call's signature to its bound launcher."""

from __future__ import annotations

from collections.abc import Hashable

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.saved_tensors import saved_tensors_of
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.dispatch.choice import (
    Choice,
    choose,
    choose_forced,
    interpreter_target,
    stored_winners,
    warn_of_fallback,
)
from gdn_ops.dispatch.device import target_of
from gdn_ops.dispatch.mode import MODE, Mode
from gdn_ops.launch.capture import refuse_capture
from gdn_ops.launch.differentiable import Differentiable
from gdn_ops.launch.launcher import Launcher, bind

COMPILING = "choosing and compiling for a call of new sizes"

LIMIT = 4096
"""Signatures kept; a stream of ever new lengths must not fill the memory."""

BOUND: dict[Hashable, Launcher | Differentiable] = {}
_LAUNCHERS: dict[Hashable, Launcher] = {}


def choice_for(problem: Problem, device: torch.device) -> Choice:
    """The choice for a problem on a device, under ``using`` if that is in force."""
    return _choice(problem, device, MODE.get())


def _choice(problem: Problem, device: torch.device, mode: Mode) -> Choice:
    forced = mode.forced
    if forced is None:
        return choose(problem, target_of(device), invariant=mode.invariant)
    if problem.op == "backward" and isinstance(forced, Variant):
        own = tuple(name for name, _ in forced.stages)
        if own != plan_named(forced.plan).stages(problem):
            forced = forced.plan  # a variant of the forward: its plan's gradients go with it
    target = interpreter_target() if device.type == "cpu" else None
    return choose_forced(problem, target or target_of(device), forced, invariant=mode.invariant)


def bind_signature(
    signature: Hashable, problem: Problem, device: torch.device, *, grad: bool
) -> Launcher | Differentiable:
    """Choose, bind and remember; signatures of one bucket share their launchers.

    Args:
        grad: a gradient may be asked of the results.

    Raises:
        UnsupportedProblem: no plan can run the problem, or its gradients.
    """
    mode = MODE.get()
    bound = (_differentiable if grad else _launcher)(problem, device, mode)
    if len(BOUND) >= LIMIT:
        BOUND.clear()
    BOUND[signature] = bound
    return bound


def _differentiable(problem: Problem, device: torch.device, mode: Mode) -> Differentiable:
    choice = _choice(problem, device, mode)
    # chosen here, so that what has no gradients is refused before anything runs
    gradients = _choice(problem.backward(final_state=problem.final_state), device, mode)
    left = saved_tensors_of(
        mode.keep, choice.variant, problem, gradients.variant, gradients.problem, choice.target,
        fixed=isinstance(mode.forced, Variant),
    )  # fmt: skip
    usual = left.forward == choice.variant
    return Differentiable(
        _launcher(problem, device, mode) if usual else _launcher_of(problem, left.forward, device),
        lambda state: _launcher(problem.backward(final_state=state), device, mode),
        mode.keep,
        left.names,
    )


def launcher_for(problem: Problem, device: torch.device) -> Launcher:
    """What calls of a problem's bucket run on, under ``using`` if that is in force."""
    return _launcher(problem, device, MODE.get())


def backward_launcher(
    problem: Problem, device: torch.device, mode: Mode, *, final_state: bool
) -> Launcher:
    """The launcher of a problem's gradients, where the call was made in a mode.

    Args:
        final_state: the gradient of the final state is given.
    """
    return _launcher(problem.backward(final_state=final_state), device, mode)


def _launcher(problem: Problem, device: torch.device, mode: Mode) -> Launcher:
    bucket = problem.bucket()
    posed = (bucket, device, mode)
    launcher = _LAUNCHERS.get(posed)
    if launcher is None:
        refuse_capture(device, COMPILING)
        choice = _choice(problem, device, mode)
        if (bucket, choice.variant, device) not in _LAUNCHERS:
            warn_of_fallback(choice, device)
        launcher = _LAUNCHERS[posed] = _launcher_of(problem, choice.variant, device)
    return launcher


def _launcher_of(problem: Problem, variant: Variant, device: torch.device) -> Launcher:
    shared = (problem.bucket(), variant, device)
    launcher = _LAUNCHERS.get(shared)
    if launcher is None:
        refuse_capture(device, COMPILING)
        launcher = _LAUNCHERS[shared] = bind(problem, variant)
    return launcher


def refresh() -> None:
    """Forget every choice and read the results databases anew, e.g. after ``gdn tune``."""
    BOUND.clear()
    _LAUNCHERS.clear()
    stored_winners.cache_clear()
