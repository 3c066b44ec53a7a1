"""A small stand-in for flash-linear-attention: its registry of backends and recorded signatures.

It has what a backend meets: where the registry is, how a backend enters it, in which order
backends are asked, and the parameters of the two functions. Its own functions compute nothing;
they return their name and the names of the arguments that they were given.
"""

from __future__ import annotations

import functools
import os
import sys
from types import ModuleType
from typing import Any

OWN = "flash-linear-attention's own"

_COMMON = "q, k, v, g, beta, scale=None, initial_state=None, output_final_state=False, "
_PACKED = "cu_seqlens=None, cu_seqlens_cpu=None, "
_SIGMOID = "use_beta_sigmoid_in_kernel=False, allow_neg_eigval=False, "
_KDA = (
    _COMMON + "use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False, " + _SIGMOID +
    "safe_gate=False, lower_bound=None, disable_recompute=False, "
    "return_intermediate_states=False, state_v_first=False, " + _PACKED + "cp_context=None, "
)  # fmt: skip
_RULE = _COMMON + "use_qk_l2norm_in_kernel=False, " + _SIGMOID + "state_v_first=False, " + _PACKED

SIGNATURES = {
    "0.6.0": {
        "chunk_gated_delta_rule": _RULE + "chunk_indices=None, cp_context=None, **kwargs",
        "chunk_kda": _KDA + "use_graph=False, max_num_seqs=None, **kwargs",
    },
    "0.5.2": {
        "chunk_gated_delta_rule": _RULE + "cp_context=None, **kwargs",
        "chunk_kda": _KDA + "**kwargs",
    },
    "0.5.0": {
        "chunk_gated_delta_rule": _COMMON + "use_qk_l2norm_in_kernel=False, " + _PACKED
        + "cp_context=None, transpose_state_layout=False, **kwargs",
        "chunk_kda": _COMMON + "use_qk_l2norm_in_kernel=False, use_gate_in_kernel=False, "
        + _PACKED + "safe_gate=False, lower_bound=None, disable_recompute=False, "
        "return_intermediate_states=False, cp_context=None, transpose_state_layout=False, "
        "**kwargs",
    },
}  # fmt: skip
"""The parameters of the public functions, by release; recorded from the releases on PyPI."""

DISPATCHED = {
    "0.6.0": ("chunk_gated_delta_rule", "chunk_kda"),
    "0.5.2": ("chunk_gated_delta_rule", "chunk_kda"),
    "0.5.0": ("chunk_kda",),
}
"""The functions that each release offers to backends."""

OPERATIONS = {"chunk_gated_delta_rule": "gated_delta_rule", "chunk_kda": "kda"}


def own_function(name: str, parameters: str) -> Any:
    """Return a function with these parameters, which says that it was called, and with what."""
    scope: dict[str, Any] = {"OWN": OWN}
    exec(f"def {name}({parameters}):\n    return OWN, dict(locals())", scope)
    return scope[name]


class BaseBackend:
    backend_type = "base"
    package_name = None
    env_var = None
    default_enable = True
    priority = 5

    @classmethod
    def is_available(cls) -> bool:
        return True

    def is_enabled(self) -> bool:
        return self.env_var is None or os.environ.get(self.env_var, "1") != "0"

    def verify(self, name: str, *args: Any, **kwargs: Any) -> tuple[bool, str | None]:
        verifier = getattr(self, f"{name}_verifier", None)
        return (True, None) if verifier is None else verifier(*args, **kwargs)


class BackendRegistry:
    def __init__(self, operation_name: str) -> None:
        self.operation_name = operation_name
        self.backends: dict[str, BaseBackend] = {}
        self.refused: list[str | None] = []

    def register(self, backend: BaseBackend) -> None:
        self.backends[backend.backend_type] = backend

    def dispatch(self, default: Any) -> Any:
        @functools.wraps(default)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            for backend in sorted(self.backends.values(), key=lambda b: b.priority):
                if not (backend.is_available() and backend.is_enabled()):
                    continue
                accepted, reason = backend.verify(default.__name__, *args, **kwargs)
                implementation = getattr(backend, default.__name__, None)
                if accepted and implementation is not None:
                    return implementation(*args, **kwargs)
                self.refused.append(reason)
            return default(*args, **kwargs)

        return wrapper


def _module(monkeypatch: Any, name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def install(
    monkeypatch: Any, version: str, signatures: dict[str, str] | None = None
) -> dict[str, BackendRegistry]:
    """Make ``import fla`` give a release; returns its registries by function.

    Args:
        monkeypatch: undoes it at the end of the test.
        version: one of ``SIGNATURES``.
        signatures: parameters of functions that differ from the recorded ones.
    """
    for name in [n for n in sys.modules if n == "fla" or n.startswith("fla.")]:
        monkeypatch.delitem(sys.modules, name)
    _module(monkeypatch, "fla", __path__=[], __version__=version)
    _module(monkeypatch, "fla.ops", __path__=[])
    parts: dict[str, Any] = {"BaseBackend": BaseBackend, "BackendRegistry": BackendRegistry}
    registries: dict[str, BackendRegistry] = {}
    functions = {}
    for name, parameters in (SIGNATURES[version] | (signatures or {})).items():
        function = own_function(name, parameters)
        if name in DISPATCHED[version]:
            registries[name] = BackendRegistry(OPERATIONS[name])
            function = registries[name].dispatch(function)
        functions[name] = function
        _module(monkeypatch, f"fla.ops.{OPERATIONS[name]}", __path__=[], **{name: function})
    if version < "0.6":
        _module(monkeypatch, "fla.ops.backends", **parts)
        for registry in registries.values():
            _module(
                monkeypatch, f"fla.ops.{registry.operation_name}.backends", its_registry=registry
            )
        return registries

    def register(entry: Any) -> Any:
        # chunk_kda has a registry of its own; the other function shares its operation's
        by_function = {functions["chunk_kda"]: registries["chunk_kda"]}
        by_name = {"gated_delta_rule": registries["chunk_gated_delta_rule"]}
        registry = by_name[entry] if isinstance(entry, str) else by_function[entry]
        return lambda backend: registry.register(backend())

    _module(monkeypatch, "fla.backends", register=register, **parts)
    return registries
