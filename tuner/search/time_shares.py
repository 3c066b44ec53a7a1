"""How a session's time is shared among problems that are called differently often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.errors import GdnError, UnsupportedProblem
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.traffic import variant_bytes
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import FALLBACK, choose
from gdn_ops.dispatch.winner_table import WinnerTable

EQUAL_PART = 0.25
"""Part of the time that is shared equally, so that a rare problem is tuned too."""
GPU_CALL_SECONDS, CPU_CALL_SECONDS = 10e-6, 150e-6
"""What a call costs however small it is."""
USUAL_BANDWIDTH, USUAL_FLOPS = 20e9, 20e9
"""Bytes and FLOPs per second of a device whose rates are unknown, such as a few cores of a CPU."""
CHUNK = 64
"""Tokens per chunk, to count products."""
BACKWARD_PRODUCTS = 2.5
"""Products of the gradients, over those of the outputs."""


@dataclass(frozen=True)
class TimeShare:
    """The share of a problem.

    Args:
        problem: a bucket.
        count: its calls.
        seconds: of one call, about.
        measured: whether a stored time for this very problem and target says so.
        share: of the time, from 0 to 1.
    """

    problem: Problem
    count: int
    seconds: float
    measured: bool
    share: float


def time_shares(
    problems: Sequence[Problem], counts: Mapping[str, int], target: Target, table: WinnerTable
) -> list[TimeShare]:
    """Share the time by what the calls of each problem cost together, the costliest first.

    The time of a call is that of the stored winner which fits best, scaled by the estimates of both
    problems; if there is none, it is the estimate, scaled as it is for the problems that have one.

    Args:
        problems: buckets, each once.
        counts: calls of each problem by its id; a problem that is not in it has one.
        target: the device that is tuned.
        table: the stored winners.
    """
    timed = [_stored_seconds(problem, target, table) for problem in problems]
    known = [
        seconds / _estimate(problem, target)
        for problem, (seconds, _) in zip(problems, timed, strict=True)
        if seconds is not None
    ]
    usual = median(known) if known else 1.0
    calls = [counts.get(problem.id(), 1) for problem in problems]
    seconds = [
        usual * _estimate(problem, target) if stored is None else stored
        for problem, (stored, _) in zip(problems, timed, strict=True)
    ]
    total = sum(n * each for n, each in zip(calls, seconds, strict=True))
    shares = [
        TimeShare(
            problem, n, each, exact,
            EQUAL_PART / len(problems) + (1 - EQUAL_PART) * n * each / total,
        )
        for problem, n, each, (_, exact) in zip(problems, calls, seconds, timed, strict=True)
    ]  # fmt: skip
    return sorted(shares, key=lambda share: -share.share)


def _stored_seconds(
    problem: Problem, target: Target, table: WinnerTable
) -> tuple[float | None, bool]:
    """The time of a call by the stored winner that fits best, and whether it is exactly that."""
    try:
        choice = choose(problem, target, table)
    except UnsupportedProblem:
        return None, False
    winner = choice.winner
    if winner is None:
        return None, False
    if winner.problem_id == problem.id():
        return winner.median, winner.provenance == "measured" and winner.target == target.name
    try:
        other = Problem.from_facts(winner.facts)
    except (GdnError, KeyError, TypeError):  # facts of another version
        return None, False
    return winner.median * _estimate(problem, target) / _estimate(other, target), False


def _estimate(problem: Problem, target: Target) -> float:
    """Seconds of a call, by its bytes or its products, whichever take longer."""
    p = problem
    moved = variant_bytes(Variant.default(FALLBACK, p), p) * p.tokens * p.HV
    states = p.sequences * p.HV * (p.initial_state + p.final_state)
    moved += states * p.K * p.V * DTYPES[p.state_dtype].bytes
    seconds = moved / (target.bandwidth or USUAL_BANDWIDTH)
    if p.op in ("forward", "backward"):
        per_value_head = 2 * 3 * p.K * p.V + 2 * CHUNK * p.V
        products = float(p.tokens) * (p.H * 2 * CHUNK * p.K + p.HV * per_value_head)
        products *= BACKWARD_PRODUCTS if p.op == "backward" else 1.0
        rate = target.flops_fp32 if p.dtype == "fp32" else target.flops_16
        seconds = max(seconds, products / (rate or USUAL_FLOPS))
    return seconds + (GPU_CALL_SECONDS if target.gpu else CPU_CALL_SECONDS)
