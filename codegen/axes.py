"""Axes that several stages or plans have in common, each defined once."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis

BT = Axis("BT", (16, 32, 64, 128), 64, "tokens per chunk")
STORE = Axis("store", ("io", "fp32"), "io", "dtype of tensors between stages; io: that of q")
DOT = Axis(
    "dot",
    ("ieee", "tf32", "tf32x3", "native"),
    "native",
    "precision of the matrix products",
    precision=True,
)
LOADS = Axis(
    "loads",
    ("pointer", "descriptor"),
    "pointer",
    "whether tiles are read through pointers or tensor descriptors (TMA)",
)
LAYOUT = Axis("layout", ("KV", "VK"), "KV", "the state in registers is [K, V] or [V, K]")
EXP = Axis("exp", ("exp", "exp2"), "exp2", "compute decays with exp, or with exp2 of scaled gates")
READS = Axis("reads", (1, 2), 2, "sums over the state: both before its update, or one after it")


def gate_free(default: bool) -> Axis:
    """Whether the tensor A that stages exchange leaves the decay out, so that its readers add it.

    Plans differ in the default.
    """
    return Axis(
        "gate_free", (True, False), default, "A without the decay; its readers multiply it in"
    )


def merge_dot(values: tuple[str, ...], default: str, product: str) -> Axis:
    """The precision of products of fp32 operands, apart from ``dot``; ``product`` says which."""
    return Axis("merge_dot", values, default, f"precision of {product}", precision=True)


def launch_axes(
    *,
    warps: tuple[int, ...],
    stages: tuple[int, ...],
    default_warps: int | None = None,
    default_stages: int | None = None,
) -> tuple[Axis, ...]:
    """The axes that go to Triton's launcher: num_warps, num_stages and enable_fp_fusion.

    FMA contraction is always passed, because Triton 3.10 turns its default off.

    Args:
        warps, stages: values of num_warps and num_stages.
        default_warps: default of num_warps; if None, the middle value.
        default_stages: default of num_stages; if None, the first value.
    """
    warp = warps[len(warps) // 2] if default_warps is None else default_warps
    stage = stages[0] if default_stages is None else default_stages
    return (
        Axis("num_warps", warps, warp, "warps per program", launch=True),
        Axis("num_stages", stages, stage, "software pipeline depth of loops", launch=True),
        Axis("enable_fp_fusion", (True, False), True, "contract a * b + c to one FMA", launch=True),
    )
