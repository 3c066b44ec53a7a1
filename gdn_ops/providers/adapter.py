"""Adapter: what the module of a provider has."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

from gdn_ops.codegen.problem import Problem

if TYPE_CHECKING:
    from torch import Tensor

    from gdn_ops.launch.call import Call

Prepared: TypeAlias = "Callable[[], dict[str, Tensor]]"
"""Makes the library's call and returns its results by name: o and ht, or dq, dk, dv, ..."""


class Adapter(Protocol):
    """The module of a provider."""

    def load(self) -> object:
        """Import the functions that are called, so that a library that cannot be is found out."""

    def prepared(self, problem: Problem, call: Call) -> Prepared:
        """Bring a call into the form that the library takes, and return what makes it.

        For a backward the library's forward runs here, so that the call that is returned can be
        timed alone. Results are as a ``Launcher`` has them, in whatever dtype the library returns,
        for the tokens of the call that belong to sequences.

        Args:
            call: on the device where it is made, without gradients.
        """


def adapter_of(provider: str) -> Adapter:
    """The adapter of a provider, by its name; nothing of the library is imported."""
    return cast(Adapter, import_module(f"{__package__}.{provider}"))
