"""Finding the choice for a problem on a device of this machine, or on a named target."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import cpu_target, target_named
from gdn_ops.dispatch import this_machine
from gdn_ops.dispatch.choice import Choice, choose

if TYPE_CHECKING:
    import torch

Finder = Callable[[Problem], Choice]


def finder(device: torch.device | str, target: str | Target | None = None) -> Finder:
    """Return what finds the choice for a problem.

    Args:
        device: the torch device to choose for, in the current dispatch mode.
        target: choose for this target instead; this machine need not have it.

    Raises:
        InvalidInput: this machine does not have the device.
        UnknownName: there is no target of this name.
    """
    if target is not None:
        return partial(choose, target=target_named(target) if isinstance(target, str) else target)
    # PyTorch is slow to import, and a named target needs none
    from gdn_ops.dispatch.bindings import choice_for
    from gdn_ops.dispatch.device import local_device, target_of

    where = local_device(device)
    target_of(where)
    return partial(choice_for, device=where)


def finder_here() -> Finder:
    """Return what finds the choice of calls of this machine: on its first GPU, else on the CPU.

    It is for a process that makes no calls: no mode and no frozen choice is heeded on a CPU.
    """
    if this_machine.has_gpu():
        return finder("cuda")
    return partial(choose, target=cpu_target(this_machine.cpu_arch()))
