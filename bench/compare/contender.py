"""Contender: a library whose call of a case is timed."""

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
"""Makes the call; what may be made once, such as workspaces and saved tensors, is made before."""


@dataclass(frozen=True)
class Contender:
    """One library, or one plan of ours.

    Args:
        name: in tables.
        package: what has to be importable; empty for ours.
        distribution: whose version is recorded.
        install: how to get it.
        refuses: why it cannot make a case's call on a kind of device; empty if it can.
        bind: the call of a case's inputs.
        eager: ops whose calls no CUDA graph can hold.
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
