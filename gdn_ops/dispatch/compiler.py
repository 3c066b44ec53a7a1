"""Whether the C++ of a variant's stages can be compiled here."""

from __future__ import annotations

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.variant import Variant


def missing_compiler(variant: Variant) -> list[str]:
    """Why a variant's C++ cannot be compiled here; empty if it can, or if it has none."""
    if variant.provider:
        return []
    configs = [config for name, config in variant.stages if KERNELS[name].cpp]
    if not configs:
        return []
    # most calls have no C++, and do without what compiles it
    from gdn_ops.launch.cpp import why_no_cpp

    native = any(dict(config).get("dot") == "native" for config in configs)
    return [reason] if (reason := why_no_cpp(native)) else []
