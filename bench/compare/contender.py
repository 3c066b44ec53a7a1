"""Contender: a library, or one of our plans, that is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import torch
from torch import Tensor

from bench.compare.cases import Case
from bench.compare.inputs import Inputs

Outputs = Mapping[str, Tensor]
"""Results by name: o and ht, or dq, dk, dv, dg, dbeta and dh0."""
Bound = Callable[[], Outputs]
"""Makes the call; workspaces and saved tensors are made before, when it is bound."""


@dataclass(frozen=True)
class Contender:
    """One library, or one of our plans.

    Args:
        name: its name in tables.
        package: the package that must be importable; empty for ours.
        distribution: the distribution whose version is recorded.
        install: how to install it.
        refuses: returns why it cannot run a case on a device; empty if it can.
        bind: returns the call of a case with its inputs.
        eager: ops whose calls cannot be captured in a CUDA graph.
    """

    name: str
    package: str
    distribution: str
    install: str
    refuses: Callable[[Case, torch.device], str]
    bind: Callable[[Case, Inputs], Bound]
    eager: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        return not self.package or find_spec(self.package) is not None

    @property
    def version(self) -> str:
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return "unknown"
