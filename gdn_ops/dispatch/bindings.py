"""The warm path of dispatch: from the signature of a call to its launcher."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.saved_tensors import saved_tensors_of
from gdn_ops.codegen.variant import Variant, plan_named
from gdn_ops.dispatch.choice import (
    Choice,
    choose,
    choose_forced,
    forget_winners,
    interpreter_target,
    warn_of_fallback,
)
from gdn_ops.dispatch.device import target_of
from gdn_ops.dispatch.first_use import faults_on, forget, is_sound, sound_choices
from gdn_ops.dispatch.mode import MODE, Mode
from gdn_ops.dispatch.pinned import pinned
from gdn_ops.dispatch.providers import forget_providers
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.launch.bind import bind
from gdn_ops.launch.capture import refuse_capture
from gdn_ops.launch.differentiable import Differentiable
from gdn_ops.launch.launcher import Launcher
from gdn_ops.sources import origin

COMPILING = "choosing and compiling a variant for a new call signature"

LIMIT = 4096
"""Signatures to remember; without a limit, ever new sequence lengths would fill the memory."""

BOUND: dict[Hashable, Launcher | Differentiable] = {}
_LAUNCHERS: dict[tuple[Any, Any, Any], Launcher] = {}
"""By bucket, device and mode; and by bucket, variant and device."""


def choice_for(problem: Problem, device: torch.device) -> Choice:
    """Return the choice for a problem on a device in the current dispatch mode.

    It may still have to be verified; see ``sound_choices_for``.
    """
    return _choice(problem, device, MODE.get())


def sound_choices_for(problems: Sequence[Problem], device: torch.device) -> list[Choice]:
    """Return the choice for each problem as a call makes it: verified on the device."""
    return _sound(problems, device, MODE.get())


def _sound(problems: Sequence[Problem], device: torch.device, mode: Mode) -> list[Choice]:
    def choose_all() -> list[Choice]:
        return [_choice(problem, device, mode) for problem in problems]

    return sound_choices(choose_all, device)


def _choice(problem: Problem, device: torch.device, mode: Mode) -> Choice:
    forced = mode.forced
    if forced is None:
        target, frozen = target_of(device), pinned()
        faults = faults_on(target)
        if frozen is None:
            found = choose(problem, target, invariant=mode.invariant, faults=faults)
            return replace(found, here=target.gpu)
        # by the bucket: the first problem of it must not decide for the others
        found = choose(
            problem.bucket(), target, frozen.winners, invariant=mode.invariant, faults=faults
        )
        return replace(found, problem=problem, here=target.gpu)
    if problem.op == "backward" and isinstance(forced, Variant):
        stages = tuple(name for name, _ in forced.stages)
        if not forced.provider and stages != plan_named(forced.plan).stages(problem):
            # The variant is one of the forward: use its plan's default variant for the gradients.
            forced = forced.plan
    interpreted = interpreter_target() if device.type == "cpu" else None
    target = interpreted or target_of(device)
    found = choose_forced(problem, target, forced, invariant=mode.invariant)
    return replace(found, here=device.type != "cpu")


def bind_signature(
    signature: Hashable, problem: Problem, device: torch.device, *, grad: bool
) -> Launcher | Differentiable:
    """Choose and bind a variant for a new signature, and remember the launcher in ``BOUND``.

    Signatures whose problems fall into one bucket share a launcher.

    Args:
        signature: the key of the call in ``BOUND``.
        problem: the problem that the call poses.
        device: the device of the call.
        grad: whether the call records gradients.

    Raises:
        UnsupportedProblem: no plan can run the problem or, except in an exported library, its
            gradients.
    """
    mode = MODE.get()
    bound = (_differentiable if grad else _launcher)(problem, device, mode)
    if len(BOUND) >= LIMIT:
        BOUND.clear()
    BOUND[signature] = bound
    return bound


def _differentiable(problem: Problem, device: torch.device, mode: Mode) -> Differentiable:
    def backward(final_state: bool) -> Launcher:
        return _launcher(problem.backward(final_state=final_state), device, mode)

    # The backward is chosen now, so that a problem without one is refused before anything runs.
    posed = (problem, problem.backward(final_state=problem.final_state))
    try:
        choice, gradients = _sound(posed, device, mode)
    except UnsupportedProblem:
        if not origin().serves():
            raise
        # A provider may have no kernels for gradients, and models are often called for inference
        # with gradients on; so only the backward pass is refused.
        return Differentiable(_launcher(problem, device, mode), backward)
    arguments = (
        mode.keep, choice.variant, problem, gradients.variant, gradients.problem, choice.target,
    )  # fmt: skip
    saved = saved_tensors_of(*arguments, fixed=isinstance(mode.forced, Variant))
    if saved.forward != choice.variant:
        other = replace(choice, variant=saved.forward, winner=None)
        if origin().missing(problem, saved.forward) or not is_sound(other, device):
            saved = saved_tensors_of(*arguments, fixed=True)
    if saved.forward == choice.variant:
        forward = _launcher(problem, device, mode)
    else:
        forward = _launcher_of(problem, saved.forward, device)
    return Differentiable(forward, backward, mode.keep, saved.names)


def launcher_for(problem: Problem, device: torch.device) -> Launcher:
    """Return the launcher of a problem's bucket in the current dispatch mode."""
    return _launcher(problem, device, MODE.get())


def backward_launcher(
    problem: Problem, device: torch.device, mode: Mode, *, final_state: bool
) -> Launcher:
    """Return the launcher of a problem's gradients.

    Args:
        problem: the forward problem.
        device: the device of the call.
        mode: the dispatch mode in which the forward was called.
        final_state: whether the gradient of the final state is given.
    """
    return _launcher(problem.backward(final_state=final_state), device, mode)


def _launcher(problem: Problem, device: torch.device, mode: Mode) -> Launcher:
    bucket = problem.bucket()
    key = (bucket, device, mode)
    launcher = _LAUNCHERS.get(key)
    if launcher is None:
        refuse_capture(device, COMPILING)
        (choice,) = _sound((problem,), device, mode)
        if (bucket, choice.variant, device) not in _LAUNCHERS:
            warn_of_fallback(choice, device)
        launcher = _LAUNCHERS[key] = _launcher_of(problem, choice.variant, device)
    return launcher


def _launcher_of(problem: Problem, variant: Variant, device: torch.device) -> Launcher:
    key = (problem.bucket(), variant, device)
    launcher = _LAUNCHERS.get(key)
    if launcher is None:
        refuse_capture(device, COMPILING)
        launcher = _LAUNCHERS[key] = bind(problem, variant)
    return launcher


def keep_bound() -> None:
    """Keep the choices that would be made again, and forget the others."""
    BOUND.clear()  # bound again from the launchers, without compiling
    for key in list(_LAUNCHERS):
        bucket, where, last = key
        if not isinstance(last, Mode):
            continue
        try:
            same = _choice(bucket, where, last).variant == _LAUNCHERS[key].variant
        except UnsupportedProblem:
            same = False
        if not same:
            del _LAUNCHERS[key]


def refresh() -> None:
    """Forget every choice, and read the results databases again at the next call.

    Call it after ``gdn tune`` has stored new winners, or after a provider was installed. Compiled
    kernels stay in Triton's cache.

    Raises:
        InvalidInput: choices are frozen.
    """
    if pinned() is not None:
        raise InvalidInput("choices are frozen; call gdn_ops.unfreeze() before refresh().")
    BOUND.clear()
    _LAUNCHERS.clear()
    forget_winners()
    forget()
    forget_providers()
