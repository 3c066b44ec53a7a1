"""gdn-ops: runs each call of the gated delta rule on the fastest kernel known for it.

    from gdn_ops import chunk_gated_delta_rule
    o, state = chunk_gated_delta_rule(q, k, v, g, beta, output_final_state=True)

Names are imported when they are first used, so that ``import gdn_ops`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gdn_ops._version import __version__

if TYPE_CHECKING:
    from gdn_ops.codegen.problem import Problem
    from gdn_ops.codegen.rule import Rule
    from gdn_ops.codegen.variant import Variant
    from gdn_ops.dispatch.bindings import refresh
    from gdn_ops.dispatch.explain import explain
    from gdn_ops.dispatch.explanation import Explanation
    from gdn_ops.dispatch.freezing import Frozen, freeze, unfreeze
    from gdn_ops.dispatch.mode import batch_invariant, keeping, saving_for_backward, using
    from gdn_ops.dispatch.model_explanation import ModelExplanation
    from gdn_ops.ops import (
        chunk_delta_rule,
        chunk_gated_delta_product,
        chunk_gated_delta_rule,
        chunk_gla,
        chunk_kda,
        chunk_retention,
        chunk_simple_gla,
        fused_recurrent_gated_delta_rule,
        fused_recurrent_gla,
        fused_recurrent_kda,
        fused_recurrent_simple_gla,
    )
    from gdn_ops.record import recording
    from gdn_ops.warming import warmup

_HOMES = {
    "Explanation": "dispatch.explanation",
    "Frozen": "dispatch.freezing",
    "ModelExplanation": "dispatch.model_explanation",
    "Problem": "codegen.problem",
    "Rule": "codegen.rule",
    "Variant": "codegen.variant",
    "batch_invariant": "dispatch.mode",
    "chunk_delta_rule": "ops",
    "chunk_gated_delta_product": "ops",
    "chunk_gated_delta_rule": "ops",
    "chunk_gla": "ops",
    "chunk_kda": "ops",
    "chunk_retention": "ops",
    "chunk_simple_gla": "ops",
    "explain": "dispatch.explain",
    "freeze": "dispatch.freezing",
    "fused_recurrent_gated_delta_rule": "ops",
    "fused_recurrent_gla": "ops",
    "fused_recurrent_kda": "ops",
    "fused_recurrent_simple_gla": "ops",
    "keeping": "dispatch.mode",
    "saving_for_backward": "dispatch.mode",
    "recording": "record",
    "refresh": "dispatch.bindings",
    "unfreeze": "dispatch.freezing",
    "using": "dispatch.mode",
    "warmup": "warming",
}

_SUBMODULES = ("errors", "layers", "models", "ops", "reference", "serving")

__all__ = [
    "Explanation",
    "Frozen",
    "ModelExplanation",
    "Problem",
    "Rule",
    "Variant",
    "__version__",
    "batch_invariant",
    "chunk_delta_rule",
    "chunk_gated_delta_product",
    "chunk_gated_delta_rule",
    "chunk_gla",
    "chunk_kda",
    "chunk_retention",
    "chunk_simple_gla",
    "explain",
    "freeze",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_gla",
    "fused_recurrent_kda",
    "fused_recurrent_simple_gla",
    "keeping",
    "recording",
    "refresh",
    "saving_for_backward",
    "unfreeze",
    "using",
    "warmup",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        try:
            return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            raise AttributeError(f"this library was exported without {error.name}") from error
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
