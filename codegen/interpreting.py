"""Whether Triton's interpreter runs the kernels."""

from __future__ import annotations

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.variant import Variant


def interpreting() -> bool:
    """Whether Triton was imported to interpret kernels (``TRITON_INTERPRET=1``)."""
    import triton

    return bool(triton.knobs.runtime.interpret)


def interprets(variant: Variant) -> bool:
    """Whether the interpreter runs a variant: one with a Triton kernel, if it is on."""
    if variant.provider or all(KERNELS[name].language == "torch" for name, _ in variant.stages):
        return False
    return interpreting()
