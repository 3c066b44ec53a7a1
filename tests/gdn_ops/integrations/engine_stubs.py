"""Small modules with the recorded signatures of vLLM and SGLang, in place of the engines.

A function of a stub returns ``THEIRS`` with its name, and does nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from gdn_ops.integrations.engine_signatures import (
    CUSTOM_OP,
    GDN_TRITON,
    HOOKS,
    OLMO,
    QWEN,
    recorded,
)

THEIRS = "the engine's own"
DISPATCHER = "sglang.srt.layers.attention.linear.gdn_backend"
SERVER_ARGS = "sglang.srt.server_args"

_CUSTOM_OP = """
op_registry_oot = {{}}

class CustomOp:
    def __new__(cls):
        return super().__new__(op_registry_oot.get(cls.__name__, cls))

    @classmethod
    def register_oot{CustomOp.register_oot}:
        def decorate(op_class):
            assert name not in op_registry_oot, "Duplicate op name"
            op_registry_oot[name] = op_class
            return op_class
        return decorate

    def __call__(self, *args, **kwargs):
        return self._forward_method(*args, **kwargs)
"""
_QWEN = """
from vllm.model_executor.custom_op import CustomOp

class ChunkGatedDeltaRule(CustomOp):
    def __init__{ChunkGatedDeltaRule.__init__}:
        self.gdn_prefill_backend = "triton"
        self._forward_method = self.forward_native

    def forward_native{ChunkGatedDeltaRule.forward_native}:
        return THEIRS, "prefill"

def fused_recurrent_gated_delta_rule_packed_decode{fused_recurrent_gated_delta_rule_packed_decode}:
    return THEIRS, "packed decode"

def fused_sigmoid_gating_delta_rule_update{fused_sigmoid_gating_delta_rule_update}:
    return THEIRS, "sigmoid gating"
"""
_OLMO = """
def chunk_gated_delta_rule{chunk_gated_delta_rule}:
    return THEIRS, "chunk"

def fused_recurrent_gated_delta_rule{fused_recurrent_gated_delta_rule}:
    return THEIRS, "recurrent"
"""
_HOOKS = """
import sys
from collections import defaultdict
from enum import Enum

class HookType(Enum):
    AFTER = "after"
    REPLACE = "replace"

class HookRegistry:
    _hooks = defaultdict(list)
    _patched = set()

    @classmethod
    def register{HookRegistry.register}:
        cls._hooks[target].append((hook_type, hook, source))

    @classmethod
    def apply_hooks(cls):
        for target, hooks in cls._hooks.items():
            if target in cls._patched or not hooks:
                continue
            path, _, name = target.rpartition(".")
            old = getattr(sys.modules[path], name)
            for module in list(sys.modules.values()):
                for key, value in list(vars(module).items()):
                    if value is old:
                        setattr(module, key, hooks[-1][1])
            cls._patched.add(target)
"""
_GDN_TRITON = """
class TritonGDNKernel:
    supports_packed_decode = True

    def decode{TritonGDNKernel.decode}:
        return THEIRS, "decode"

    def extend{TritonGDNKernel.extend}:
        return THEIRS, "extend"

    def packed_decode{TritonGDNKernel.packed_decode}:
        return THEIRS, "packed decode"

    def target_verify{TritonGDNKernel.target_verify}:
        return THEIRS, "verify"
"""
_SERVER_ARGS = """
class ServerArgs:
    extra_buffer = False

    def enable_mamba_extra_buffer(self):
        return self.extra_buffer

ARGUMENTS = ServerArgs()

def get_global_server_args():
    return ARGUMENTS
"""
_SOURCES = {
    CUSTOM_OP: _CUSTOM_OP,
    QWEN: _QWEN,
    OLMO: _OLMO,
    HOOKS: _HOOKS,
    GDN_TRITON: _GDN_TRITON,
    DISPATCHER: f"from {GDN_TRITON} import TritonGDNKernel",
    SERVER_ARGS: _SERVER_ARGS,
}
_BOUND = ("CustomOp.register_oot", "HookRegistry.register")
"""Class methods, which are recorded without their first parameter."""


@contextmanager
def engine(package: str, version: str, changes: dict[str, str] | None = None) -> Iterator[None]:
    """Context manager: put the stubs of an engine into ``sys.modules``.

    Args:
        package: ``vllm`` or ``sglang``.
        version: what the engine reports as its version.
        changes: other parameters, by name without the module.
    """
    before = {name: m for name, m in sys.modules.items() if name.split(".")[0] == package}
    for name in before:
        del sys.modules[name]
    try:
        for name, source in _SOURCES.items():
            if name.split(".")[0] == package:
                add_module(name, version, _filled(name, source, changes or {}))
        yield
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] == package]:
            del sys.modules[name]
        sys.modules.update(before)


def _filled(module: str, source: str, changes: dict[str, str]) -> str:
    if "def " not in source:
        return source
    lines = []
    for line in source.splitlines():
        start, brace, rest = line.partition("{")
        if "def " in line and brace:
            name = rest.partition("}")[0]
            parameters = changes.get(name, recorded(f"{module}.{name}")[-1].parameters)
            first = "(cls, " if name in _BOUND else "("
            line = f"{start}{first}{parameters[1:]}:"
        lines.append(line.replace("{{}}", "{}"))
    return "\n".join(lines)


def add_module(name: str, version: str, source: str = "") -> Any:
    """Put a module into ``sys.modules``, and those above it that are missing; return it."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        path = ".".join(parts[:count])
        if path not in sys.modules:
            module = ModuleType(path)
            module.__spec__ = ModuleSpec(path, None, is_package=True)
            module.__path__ = []
            module.__dict__.update(THEIRS=THEIRS, __version__=version)
            sys.modules[path] = module
            if count > 1:
                setattr(sys.modules[".".join(parts[: count - 1])], parts[count - 1], module)
    exec(compile(source, name, "exec"), sys.modules[name].__dict__)
    return sys.modules[name]
