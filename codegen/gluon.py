"""Gluon: which of its names the kernels use, and whether the installed Triton has them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from gdn_ops.codegen.dtype import DType
from gdn_ops.codegen.target import INTERPRETER, Target

RENAMED = {
    "async_load": "async_copy_global_to_shared",
    "async_store": "async_copy_shared_to_global",
}
"""Copies by tensor descriptor: their names since Triton 3.8, and before."""
HOPPER_NAMES = ("mbarrier", "fence_async_shared", "warpgroup_mma", "warpgroup_mma_wait")
BLACKWELL_NAMES = (
    "mbarrier", "fence_async_shared", "TensorMemoryLayout", "allocate_tensor_memory", "tcgen05_mma",
)  # fmt: skip
OLDEST = (3, 6)


def gluon_reasons(stage: str, archs: Iterable[str], target: Target) -> list[str]:
    """Why a Gluon stage cannot run on a target; empty if it can.

    Args:
        archs: the architectures that the stage is written for.
    """
    if target.device == INTERPRETER:  # it runs Gluon of every architecture
        return []
    if target.arch not in archs:
        return [
            f"{stage} is a Gluon kernel for {' and '.join(archs)}, and {target.name} is "
            f"{target.arch}"
        ]
    missing = missing_in_triton()
    return [f"{stage} is a Gluon kernel, and {missing}"] if missing else []


@cache
def missing_in_triton() -> str:
    """What the installed Triton lacks to compile Gluon kernels, in words; empty if nothing."""
    try:
        import triton
    except ImportError:
        return "Triton is not installed; install Triton 3.6 or newer"
    version = triton.__version__
    try:
        from triton.experimental.gluon import jit  # noqa: F401
        from triton.experimental.gluon.language import warp_specialize  # noqa: F401
        from triton.experimental.gluon.language.nvidia import blackwell, hopper
    except (ImportError, AttributeError) as error:
        return f"Triton {version} has no Gluon ({error}); install Triton 3.6 or newer"
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        return f"Gluon of Triton {version} differs from today's; install Triton 3.6 or newer"
    lacking = [
        name
        for name, older in RENAMED.items()
        if not hasattr(hopper.tma, name) and not hasattr(hopper.tma, older)
    ]
    lacking += [name for name in HOPPER_NAMES if not hasattr(hopper, name)]
    lacking += [name for name in BLACKWELL_NAMES if not hasattr(blackwell, name)]
    # layouts of tensor memory in registers: a function, and since Triton 3.8 a method
    if not hasattr(blackwell, "get_tmem_reg_layout") and not hasattr(
        getattr(blackwell, "tensor_memory_descriptor_type", None), "get_reg_layout"
    ):
        lacking.append("get_tmem_reg_layout")
    if lacking:
        return f"Gluon of Triton {version} lacks {', '.join(lacking)}; install Triton 3.6 to 3.9"
    return ""


def descriptor_layout(element: DType, block: tuple[int, int]) -> Any:
    """Gluon's layout in shared memory of a tile that a tensor descriptor copies."""
    from triton.experimental.gluon import language as gl

    return gl.NVMMASharedLayout.get_default_for(list(block), getattr(gl, element.triton[3:]))


def descriptor_type(element: DType, block: tuple[int, int]) -> str:
    """Triton's type of a tensor descriptor."""
    rows, columns = block
    layout = descriptor_layout(element, block)
    return f"tensordesc<{element.signature}[{rows}, {columns}],{layout!r}>"
