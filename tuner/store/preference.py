"""Which of several winners of one problem and target is kept, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gdn_ops.moment import moment_text
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.store.models import EnvironmentRow, WinnerRow

COMPARED = ("device", "driver", "triton", "ptxas", "torch", "threads", "python", "platform",
            "harness_version")  # fmt: skip
"""What of an environment is named when two differ."""


@dataclass(frozen=True)
class Rival:
    """A winner that may become the current one.

    Args:
        environment: where it was measured; None if it was predicted.
        fresh: whether its kernels have the source that was measured.
        text: its variant.
    """

    row: WinnerRow
    environment: EnvironmentRow | None
    fresh: bool
    text: str


def preferred(rivals: Sequence[Rival]) -> Rival:
    """The winner to keep of one problem and target.

    1. A measured one, if there is one.
    2. One whose kernels still have the source that was measured, if there is one.
    3. One of the environment (device, driver, Triton, torch, ...) that was measured last: times of
       two environments do not compare.
    4. Within that environment the fastest; of a variant that was measured twice the newer time.
    """
    left = _any(rivals, lambda rival: rival.row.provenance == "measured")
    left = _any(left, lambda rival: rival.fresh)
    newest = max(left, key=_age)
    if newest.row.provenance != "measured":
        return newest
    left = [rival for rival in left if _environment(rival) == _environment(newest)]
    latest = {rival.row.variant_id: rival for rival in sorted(left, key=_age)}
    return min(latest.values(), key=lambda rival: (rival.row.median, rival.row.uid))


def why(best: Rival, other: Rival) -> str:
    """Why ``best`` is preferred to ``other``, said of ``best``."""
    if best.row.provenance != other.row.provenance:
        return "measured, and the other is predicted"
    if best.fresh != other.fresh:
        return "the other's kernels have changed since it was measured"
    if best.row.provenance == "predicted":
        return f"predicted later ({_when(best)}, not {_when(other)})"
    if difference := _difference(best.environment, other.environment):
        return (
            f"measured last ({_when(best)}, not {_when(other)}); {difference}: times do not compare"
        )
    if best.row.variant_id == other.row.variant_id:
        return f"the same variant, measured later ({_when(best)}, not {_when(other)})"
    mine, others = seconds_text(best.row.median), seconds_text(other.row.median)
    return f"as fast or faster in the same environment: {mine}, not {others}"


def _any(rivals: Iterable[Rival], wanted: Callable[[Rival], bool]) -> list[Rival]:
    """Those that are as wanted, or all if none is."""
    rivals = list(rivals)
    return [rival for rival in rivals if wanted(rival)] or rivals


def _age(rival: Rival) -> tuple[float, str]:
    return rival.row.created.timestamp(), rival.row.uid


def _environment(rival: Rival) -> str | None:
    return None if rival.environment is None else rival.environment.hash


def _difference(one: EnvironmentRow | None, other: EnvironmentRow | None) -> str:
    """What differs between two environments, as ``driver 590.1, not 591.0``; empty if nothing."""
    if one is None or other is None or one.hash == other.hash:
        return ""
    for name in COMPARED:
        mine, others = getattr(one, name), getattr(other, name)
        if mine != others:
            return f"{name.replace('_', ' ')} {mine or 'none'}, not {others or 'none'}"
    return "another template hash"


def _when(rival: Rival) -> str:
    return moment_text(rival.row.created)
