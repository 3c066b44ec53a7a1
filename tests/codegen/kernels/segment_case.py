"""A small call of a plan on segments, its stages run one by one on poisoned memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gdn_ops.codegen.axis import Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.bind import bind
from gdn_ops.launch.call import Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.packing import packing_of
from gdn_ops.reference import recurrent_reference
from tests.codegen.reads import reads_inside
from tests.codegen.writes import writes_once
from tests.stage_runner import POISON

BT, SEG = 16, 4
CUT = BT * SEG
"""Tokens of a segment."""
CHUNKS = {"segmented": BT, "segmented_sm90": 64}
"""Tokens per chunk, by plan."""
NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def launcher_of(
    arguments: dict[str, Any],
    stages: dict[str, dict[str, Value]] | None = None,
    plan: str = "segmented",
) -> Launcher:
    """The variant of ``calls.call``'s arguments, on segments of SEG chunks, for the interpreter."""
    q, v, cu = arguments["q"], arguments["v"], arguments["cu_seqlens"]
    (B, T, H, K), (HV, V) = q.shape, v.shape[2:]
    problem = Problem(
        op="forward", H=H, HV=HV, K=K, V=V, dtype=NAMES[q.dtype], tokens=B * T,
        sequences=B if cu is None else len(cu) - 1, varlen=cu is not None,
        rule=Rule("none" if arguments["g"] is None else "scalar"),
        initial_state=arguments["initial_state"] is not None,
        final_state=arguments["output_final_state"],
    )  # fmt: skip
    variant = Variant.of(plan, problem, {"BT": CHUNKS[plan], "SEG": SEG}, stages)
    return bind(problem, variant, interpret=True)


def call_of(arguments: dict[str, Any]) -> Call:
    q, cu = arguments["q"], arguments["cu_seqlens"]
    return Call(
        **{name: arguments[name] for name in ("q", "k", "v", "g", "beta")},
        scale=q.shape[-1] ** -0.5,
        h0=arguments["initial_state"],
        packing=None if cu is None else packing_of(cu, q.shape[1]),
    )


def walked(
    arguments: dict[str, Any], *, until: str, limit: int = 20, plan: str = "segmented"
) -> dict[str, Any]:
    """What the stages made up to one; what they did not write is NaN, or POISON in ``whole``."""
    name = plan.replace("segmented", "segment_map")
    launcher = launcher_of(arguments, {name: {"LIMIT": limit}}, plan)
    workspace = launcher.workspace(call_of(arguments))
    for stage in launcher.stages:
        stage.allocate(workspace, torch.device("cpu"))
        for name in stage.outputs:
            x = workspace.values[name]
            x.fill_(float("nan") if x.is_floating_point() else POISON)
        tensors = [x for x in workspace.values.values() if isinstance(x, Tensor)]
        with reads_inside(tensors), writes_once():
            stage.launch(workspace)
        if stage.name == until:
            break
    return workspace.values


def segments_of(arguments: dict[str, Any]) -> Iterator[tuple[int, slice, int, bool]]:
    """Each segment: row of the call, its tokens, its sequence, whether it is the last there."""
    (B, T), cu = arguments["q"].shape[:2], arguments["cu_seqlens"]
    spans = [(b, 0, T) for b in range(B)]
    if cu is not None:
        spans = [(0, start, end) for start, end in pairwise(cu.tolist())]
    for n, (b, start, end) in enumerate(spans):
        for t in range(start, max(end, start + 1), CUT):
            yield b, slice(t, min(t + CUT, end)), n, t + CUT >= end


def state_after(
    arguments: dict[str, Any], b: int, tokens: slice, before: Tensor, *, v: bool = True
) -> Tensor:
    """[HV, K, V] after some tokens of a row, in fp64; without v nothing is written."""
    x = {name: arguments[name] for name in ("q", "k", "v", "g", "beta")}
    rows = {name: y[b : b + 1, tokens].double() for name, y in x.items() if y is not None}
    if not v:
        rows["v"] = rows["v"].new_zeros(*rows["v"].shape[:3], before.shape[-1])
    return recurrent_reference(**rows, initial_state=before[None].double())[1][0]
