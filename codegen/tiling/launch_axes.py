"""The axes that go to Triton's launcher instead of the template."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis


def launch_axes(
    *,
    warps: tuple[int, ...],
    stages: tuple[int, ...],
    default_warps: int | None = None,
    default_stages: int | None = None,
) -> tuple[Axis, ...]:
    """num_warps, num_stages and enable_fp_fusion; the defaults are the middle warps, fewest stages.

    FMA contraction is always passed, for Triton 3.10 turns its default off.
    """
    warp = warps[len(warps) // 2] if default_warps is None else default_warps
    stage = stages[0] if default_stages is None else default_stages
    return (
        Axis("num_warps", warps, warp, "warps of one program", launch=True),
        Axis("num_stages", stages, stage, "software pipeline depth of loops", launch=True),
        Axis("enable_fp_fusion", (True, False), True, "contract a * b + c to one FMA", launch=True),
    )
