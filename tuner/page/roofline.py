"""The roofline: the FLOP/s and bytes/s that winners reach, against the rates of their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.traffic import variant_bytes
from gdn_ops.codegen.variant import Variant
from gdn_ops.codegen.work import problem_flops, state_bytes
from gdn_ops.dispatch.winner import Winner
from gdn_ops.tuner.page.axis_scale import scale
from gdn_ops.tuner.page.label import label, rounded


@dataclass(frozen=True, kw_only=True)
class Reached:
    """What a winner reaches.

    Args:
        flops: FLOPs of the problem, in the chunkwise form, or token by token in a decode.
        moved: bytes that the variant's stages read and write, each tensor once, with the states.
        flops_rate, bandwidth: peak rates of the target, FLOP/s and bytes/s; 0 if not known.
    """

    problem_id: str
    target: str
    seconds: float
    predicted: bool
    flops: float
    moved: float
    flops_rate: float
    bandwidth: float

    @property
    def share(self) -> float | None:
        """The share of the peak rate that limits the problem; None if the rates are not known."""
        if not self.bandwidth:
            return None
        products = self.flops / self.flops_rate if self.flops_rate else 0.0
        return max(self.moved / self.bandwidth, products) / self.seconds


def reached(winner: Winner) -> Reached:
    """What a winner reaches.

    Raises:
        GdnError, KeyError, TypeError, ValueError: its problem or variant is not one of today.
    """
    problem = Problem.from_facts(winner.facts)
    variant = Variant.from_json(winner.variant, problem)
    target = TARGETS.get(winner.target)
    moved = variant_bytes(variant, problem) * problem.tokens * problem.HV + state_bytes(problem)
    return Reached(
        problem_id=winner.problem_id, target=winner.target, seconds=winner.median,
        predicted=winner.provenance == "predicted", flops=problem_flops(problem), moved=moved,
        flops_rate=_flops_rate(problem, target), bandwidth=target.bandwidth if target else 0.0,
    )  # fmt: skip


def all_reached(winners: Sequence[Winner]) -> tuple[dict[str, list[Reached]], list[str]]:
    """What winners reach, by target, and a sentence for each that is left out."""
    found: dict[str, list[Reached]] = {}
    left_out = []
    for winner in winners:
        try:
            found.setdefault(winner.target, []).append(reached(winner))
        except (GdnError, KeyError, TypeError, ValueError, AttributeError) as error:
            left_out.append(f"no roofline of {winner.problem_id} on {winner.target}: {error}")
    return found, left_out


def flops_unit(points: Sequence[Reached]) -> tuple[str, float]:
    """The unit of FLOP/s in which the fastest of some points is above 1, and its size."""
    fastest = max((p.flops / p.seconds for p in points), default=0.0)
    return ("TFLOP/s", 1e12) if fastest >= 1e12 else ("GFLOP/s", 1e9)


def figure(points: Sequence[Reached]) -> Mapping[str, Any]:
    """FLOP/s by FLOPs per byte, below the roofs of bandwidth and of products; of one target."""
    inner = [p.flops / p.moved for p in points if p.moved]
    low, high = min(inner, default=1.0) / 4, max(inner, default=100.0) * 4
    unit, size = flops_unit(points)
    roofs: list[dict[str, Any]] = []
    for rate in sorted({p.flops_rate for p in points if p.bandwidth and p.flops_rate}):
        bandwidth = points[0].bandwidth
        ridge = rate / bandwidth
        high = max(high, 4 * ridge)
        xs = [low, ridge, high]
        roofs.append(
            {
                "type": "scatter", "mode": "lines", "name": f"peak {_si(rate)}FLOP/s",
                "x": [rounded(x) for x in xs],
                "y": [rounded(min(rate, x * bandwidth) / size) for x in xs],
                "line": {"color": "@muted", "width": 1.5, "dash": "dash" if roofs else "solid"},
                "hoverinfo": "name",
            }
        )  # fmt: skip
    heights = [p.flops / p.seconds / size for p in points if p.flops]
    heights += [y for roof in roofs for y in roof["y"]]
    return {
        "data": [
            *roofs,
            {
                "type": "scatter", "mode": "markers", "name": "winners",
                "x": [rounded(p.flops / p.moved) if p.moved else None for p in points],
                "y": [rounded(p.flops / p.seconds / size) for p in points],
                "marker": {
                    "size": 10, "color": "@1",
                    "symbol": ["circle-open" if p.predicted else "circle" for p in points],
                },
                "text": [label(p.problem_id) for p in points],
                "hovertemplate": "%{text}<br>"
                f"%{{y:,.4~g}} {unit} at %{{x:,.4~g}} FLOP/byte<extra></extra>",
            },
        ],
        "layout": {
            "xaxis": {"type": "log", "dtick": 1, "title": {"text": "FLOPs per byte moved"}},
            "yaxis": {**scale(heights), "title": {"text": unit}},
            "hovermode": "closest",
            "showlegend": bool(roofs),
        },
    }  # fmt: skip


def _flops_rate(problem: Problem, target: Target | None) -> float:
    if target is None:
        return 0.0
    if problem.op in ("decode", "pool"):
        return target.flops_fp32  # token by token, there are no matrix products
    return target.flops_tf32 or target.flops_fp32 if problem.dtype == "fp32" else target.flops_16


def _si(rate: float) -> str:
    for unit, factor in (("P", 1e15), ("T", 1e12)):
        if rate >= factor:
            return f"{rate / factor:.3g} {unit}"
    return f"{rate / 1e9:.3g} G"
