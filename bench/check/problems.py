"""The problems of the measurements: small prefills, so that many comparisons take minutes."""

from __future__ import annotations

from gdn_ops.codegen.problem import Problem

SHAPES = (
    # H, HV, K, V, tokens
    (1, 1, 64, 64, 512),
    (2, 2, 64, 64, 256),
    (2, 4, 64, 64, 256),
    (1, 2, 64, 128, 512),
    (2, 2, 96, 128, 256),
    (1, 2, 128, 96, 512),
    (4, 4, 64, 64, 256),
    (1, 1, 96, 128, 1024),
    (2, 4, 128, 64, 256),
    (4, 8, 64, 64, 128),
)


def problems() -> tuple[Problem, ...]:
    """Twenty prefills in fp32 and bf16, all of which plan torch runs by kernel torch_chunk."""
    return tuple(
        Problem(
            op="forward", H=H, HV=HV, K=K, V=V, dtype=dtype, tokens=tokens, sequences=1,
            final_state=True,
        )
        for dtype in ("fp32", "bf16")
        for H, HV, K, V, tokens in SHAPES
    )  # fmt: skip
