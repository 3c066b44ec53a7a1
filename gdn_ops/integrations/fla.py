"""Running flash-linear-attention's functions on gdn_ops, also inside its layers and transformers.

    from gdn_ops.integrations.fla import use_gdn_ops

    print(use_gdn_ops())

gdn_ops enters flash-linear-attention's own registry of backends. A call that gdn_ops cannot run
goes on to the next backend, and at last to flash-linear-attention's own kernels.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import Tensor

from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.integrations.fla_registry import REMEDY, Registry, installed_registry
from gdn_ops.integrations.refusal import Refusals
from gdn_ops.integrations.signature import unknown_in
from gdn_ops.ops import chunk_gated_delta_rule, chunk_kda
from gdn_ops.results_path import switch

LOGGER = logging.getLogger(__name__)

SWITCH = "FLA_GDN_OPS"
"""The environment variable that switches the backend off with 0, as FLA's backends have one."""

PRIORITY = 1
"""Backends with a lower number are asked first; FlashQLA and FlashKDA have 3."""

OLD_NAMES = {"transpose_state_layout": "state_v_first"}

OPERATIONS = {"chunk_gated_delta_rule": "gated_delta_rule", "chunk_kda": "kda"}
"""The operation of flash-linear-attention that each function belongs to."""

_RULES: dict[str, Callable[..., tuple[Tensor, Tensor | None]]] = {
    "chunk_gated_delta_rule": chunk_gated_delta_rule,
    "chunk_kda": chunk_kda,
}

_PROBE = object()
"""Given in place of tensors to see whether a call of their function reaches the backend."""


class Bridge:
    """One function of flash-linear-attention, and ours that runs instead.

    Args:
        name: the function's name.
        theirs: the function of flash-linear-attention, which its callers call.
    """

    def __init__(self, name: str, theirs: Callable[..., Any]) -> None:
        self.ours, self.theirs = _RULES[name], theirs
        parameters = inspect.signature(inspect.unwrap(theirs)).parameters.values()
        self.names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self.refusals = Refusals(self.ours)
        self.active = False

    def verify(self, *args: Any, **kwargs: Any) -> tuple[bool, str | None]:
        """Return whether gdn_ops runs a call, and if not why."""
        arguments = self._arguments(args, kwargs)
        if arguments is None:
            return False, "an argument is given twice, or there are too many"
        if arguments.get("q") is _PROBE:
            return True, None
        reason = self.refusals.reason(arguments)
        return reason is None, reason

    def run(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None] | object:
        """Run a call that ``verify`` accepted."""
        arguments = self._arguments(args, kwargs) or {}
        if arguments.get("q") is _PROBE:
            return _PROBE
        return self.ours(**arguments)

    def reached(self) -> bool:
        """Return whether a call of their function reaches this bridge."""
        try:
            return self.theirs(**dict.fromkeys(("q", "k", "v", "g", "beta"), _PROBE)) is _PROBE
        except Exception:
            # Their own function, or another backend, was given what is not a tensor.
            return False

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """Return the arguments by our names; None if one is given twice, or there are too many."""
        arguments = dict(zip(self.names, args, strict=False)) | kwargs
        if len(arguments) != len(args) + len(kwargs):
            return None
        for old, new in OLD_NAMES.items():
            if old in arguments and not arguments.get(new):
                arguments[new] = arguments.pop(old)
        return arguments


class Takeover:
    """What a call of ``use_gdn_ops`` replaced; ``str()`` says in one line what runs on gdn_ops.

    As a context manager it takes the replacement back at the end of the block.

    Args:
        version: the version of flash-linear-attention.
        bridges: every function that gdn_ops is registered for, active or not.
        replaced: the names of the functions that the call replaced.
    """

    def __init__(self, version: str, bridges: dict[str, Bridge], replaced: tuple[str, ...]) -> None:
        self._version, self._bridges, self._replaced = version, bridges, replaced

    @property
    def functions(self) -> tuple[str, ...]:
        """The names of the functions that run on gdn_ops now, whichever call replaced them."""
        return tuple(name for name, bridge in self._bridges.items() if bridge.active)

    def restore(self) -> None:
        """Give back what the call replaced; a second call does nothing."""
        for name in self._replaced:
            self._bridges[name].active = False
        self._replaced = ()

    def __enter__(self) -> Takeover:
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()

    def __str__(self) -> str:
        names = ", ".join(self.functions) or "no function"
        verb = "runs" if len(self.functions) <= 1 else "run"
        off = f" (switched off: {SWITCH}=0)" if switched_off() else ""
        return f"flash-linear-attention {self._version}: {names} {verb} on gdn_ops{off}"


def switched_off() -> bool:
    """Return whether the environment switches the backend off; FLA reads it at every call."""
    return switch(SWITCH) is False


_REGISTERED: dict[ModuleType, dict[str, Bridge]] = {}
"""By the module of the registry: the bridges that are registered there, by function."""


def use_gdn_ops(*functions: str) -> Takeover:
    """Run functions of flash-linear-attention on ``gdn_ops``, for every caller in this process.

    The callers are its own layers and models, and transformers, which calls it if it is installed.
    gdn_ops is a backend in its registry: a call that gdn_ops cannot run, or for which a GPU has no
    tuned kernel, goes to the next backend. The environment variable ``FLA_GDN_OPS=0`` switches it
    off. Calling this again changes nothing, and the handle of the second call restores nothing.

    Args:
        functions: ``chunk_gated_delta_rule``, ``chunk_kda`` or both; none given: both.

    Returns:
        A handle whose ``restore()`` takes back what this call replaced; also a context manager.
        Its ``str()`` says in one line which functions of which version run on gdn_ops.

    Raises:
        UnknownName: a function is neither of these.
        InvalidInput: flash-linear-attention is not installed, or this release has another
            registry or signature than gdn_ops knows; nothing is replaced then.
    """
    for name in functions:
        if name not in OPERATIONS:
            raise UnknownName.of("function of flash-linear-attention", name, OPERATIONS)
    off = switched_off()
    registry = installed_registry()
    registered = _REGISTERED.setdefault(registry.home, {})
    wanted = dict.fromkeys(functions or OPERATIONS)
    bridges = {name: registered.get(name) or _bridge(registry, name) for name in wanted}
    for name, bridge in bridges.items():
        if name not in registered:
            registry.add(_backend(registry, name, bridge), OPERATIONS[name], bridge.theirs)
            registered[name] = bridge
    replaced = tuple(name for name, bridge in bridges.items() if not bridge.active)
    takeover = Takeover(registry.version, registered, replaced)
    for name in replaced:
        registered[name].active = True
    unreached = [name for name in replaced if not (off or registered[name].reached())]
    if unreached:
        takeover.restore()
        raise InvalidInput(
            f"flash-linear-attention {registry.version} does not ask its backends in a call of "
            f"{', '.join(unreached)}; unset FLA_DISABLE_BACKEND_DISPATCH if it is set, or {REMEDY}."
        )
    LOGGER.info("%s", takeover)
    return takeover


def _bridge(registry: Registry, name: str) -> Bridge:
    """Return the bridge for a function whose signature is known."""
    theirs = registry.function(OPERATIONS[name], name)
    unknown = unknown_in(inspect.unwrap(theirs), _RULES[name], OLD_NAMES)
    if unknown:
        raise InvalidInput(
            f"{name} of flash-linear-attention {registry.version} has another signature than "
            f"gdn_ops knows ({unknown}), so it stays in place; {REMEDY}."
        )
    return Bridge(name, theirs)


def _backend(registry: Registry, name: str, bridge: Bridge) -> type:
    """Return the backend class of a function; its base class is the registry's own."""
    return type(
        "GdnOpsBackend",
        (registry.home.BaseBackend,),
        {
            "backend_type": "gdn_ops",
            "env_var": SWITCH,
            "priority": PRIORITY,
            # A class method in every release, so it also serves to take the backend back.
            "is_available": classmethod(lambda _: bridge.active),
            name: lambda _, *args, **kwargs: bridge.run(*args, **kwargs),
            f"{name}_verifier": lambda _, *args, **kwargs: bridge.verify(*args, **kwargs),
        },
    )
