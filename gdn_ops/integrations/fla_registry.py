"""The registry of backends of flash-linear-attention: where it is, and how a backend enters it.

0.6 has it in ``fla.backends``: one registry per operation, or per function. Older releases have it
in ``fla.ops.backends``, and make their registries in the package of each operation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from gdn_ops.errors import InvalidInput

HOMES = ("fla.backends", "fla.ops.backends")
"""Modules that may hold the registry, the newest first."""

REMEDY = "install flash-linear-attention 0.5.2 or 0.6"


@dataclass(frozen=True)
class Registry:
    """The registry of the installed flash-linear-attention.

    Args:
        home: the module that defines it.
        version: the version of flash-linear-attention.
    """

    home: ModuleType
    version: str

    def function(self, operation: str, name: str) -> Callable[..., Any]:
        """Return the public function of an operation.

        Raises:
            InvalidInput: this release has no such function.
        """
        try:
            found = getattr(importlib.import_module(f"fla.ops.{operation}"), name)
        except (ImportError, AttributeError):
            raise InvalidInput(
                f"flash-linear-attention {self.version} has no fla.ops.{operation}.{name}; "
                f"{REMEDY}."
            ) from None
        if not callable(found):
            raise InvalidInput(
                f"fla.ops.{operation}.{name} of flash-linear-attention {self.version} is a "
                f"{type(found).__name__}, not a function; {REMEDY}."
            )
        function: Callable[..., Any] = found
        return function

    def add(self, backend: type, operation: str, function: Callable[..., Any]) -> None:
        """Register a backend for a function.

        Raises:
            InvalidInput: this release does not offer the function to backends.
        """
        if hasattr(self.home, "register"):
            # A function has its own registry, or shares that of its operation.
            try:
                self.home.register(function)(backend)
            except KeyError:
                self.home.register(operation)(backend)
            return
        self._registry_of(operation)(backend())

    def _registry_of(self, operation: str) -> Callable[[Any], None]:
        """Return ``register`` of the registry that an older release keeps for an operation."""
        try:
            package = importlib.import_module(f"fla.ops.{operation}.backends")
        except ImportError:
            package = None
        for value in vars(package).values() if package else ():
            if isinstance(value, self.home.BackendRegistry) and value.operation_name == operation:
                register: Callable[[Any], None] = value.register
                return register
        raise InvalidInput(
            f"flash-linear-attention {self.version} does not offer fla.ops.{operation} to "
            f"backends; leave its function out, or {REMEDY}."
        )


def installed_registry() -> Registry:
    """Return the registry of the installed flash-linear-attention, which is imported now.

    Raises:
        InvalidInput: it is not installed, or its registry is not one of the known ones.
    """
    try:
        version = str(getattr(importlib.import_module("fla"), "__version__", "(version unknown)"))
    except ModuleNotFoundError as error:
        if error.name != "fla":
            raise
        raise InvalidInput(
            "flash-linear-attention is not installed; run `pip install flash-linear-attention`."
        ) from None
    for name in HOMES:
        try:
            home = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        missing = [part for part in ("BaseBackend", "BackendRegistry") if not hasattr(home, part)]
        if not missing:
            return Registry(home, version)
        raise InvalidInput(
            f"{name} of flash-linear-attention {version} has no {' and no '.join(missing)}; "
            f"{REMEDY}."
        )
    raise InvalidInput(
        f"flash-linear-attention {version} has no registry of backends ({' or '.join(HOMES)}); "
        f"{REMEDY}."
    )
