"""One case measured: every contender in turn, by CUDA graph and eagerly, with its errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.compare.accuracy import errors, reference_of
from bench.compare.cases import Case
from bench.compare.contender import Bound, Contender
from bench.compare.inputs import inputs_of
from gdn_ops.tuner.interleaving import interleaved
from gdn_ops.tuner.statistics import estimate
from gdn_ops.tuner.timers import CaptureError, Sampler, timer_of

MOST_SETS = 4
"""Sets of inputs that calls rotate through, so that a small one is not found in the cache."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Rounds at least, and seconds for all contenders of a case."""

    rounds: int = 7
    seconds: float = 2.0


class Uncapturable(Exception):
    """A contender's calls cannot be captured, and this process may be of no use any more."""


def measure(
    case: Case,
    contenders: Sequence[Contender],
    *,
    device: torch.device,
    threads: int,
    pace: Pace,
    eager: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Time a case.

    Args:
        eager: contenders that are known not to be capturable.

    Returns:
        ``conditions`` and by contender either ``refused`` (why), ``failed`` (its error), or
        ``errors`` by output and ``times`` by method: median, low, high, samples in seconds.

    Raises:
        Uncapturable: names a contender; measure again in a new process, with it in ``eager``.
    """
    timer = timer_of(device, threads=threads)
    first = inputs_of(case, device)
    sets = min(MOST_SETS, timer.argument_sets(first.bytes))
    inputs = [first, *(inputs_of(case, device, seed=i) for i in range(1, sets))]
    found: dict[str, Any] = {}
    samplers: dict[str, Mapping[str, Sampler]] = {}
    with torch.no_grad():
        reference = reference_of(case, first)
        for contender in contenders:
            why = contender.refuses(case, device)
            if why:
                found[contender.name] = {"refused": why}
                continue
            try:
                runs = [contender.bind(case, x) for x in inputs]
                found[contender.name] = {"errors": errors(runs[0](), reference), "times": {}}
                samplers[contender.name] = _samplers(timer, runs, contender.name in eager)
            except CaptureError as error:
                raise Uncapturable(contender.name) from error
            except Exception as error:  # a peer may fail in any way; the others go on
                found[contender.name] = {"failed": f"{type(error).__name__}: {error}"[:400]}
        _sample(samplers, found, pace)
    return {"contenders": found, "conditions": timer.conditions()}


def _samplers(timer: Any, runs: Sequence[Bound], eager: bool) -> Mapping[str, Sampler]:
    found: Mapping[str, Sampler] = timer.samplers(lambda i: runs[i](), len(runs), eager=eager)
    return found


def _sample(
    samplers: Mapping[str, Mapping[str, Sampler]], found: dict[str, Any], pace: Pace
) -> None:
    """Sample all contenders in turn, method by method."""
    methods = dict.fromkeys(method for own in samplers.values() for method in own)
    for method in methods:
        own = {name: by[method] for name, by in samplers.items() if method in by}
        seconds = pace.seconds / len(methods)
        for name, samples in interleaved(own, rounds=pace.rounds, seconds=seconds).items():
            center = estimate(samples)
            found[name]["times"][method] = {
                "median": center.median, "low": center.low, "high": center.high,
                "samples": samples,
            }  # fmt: skip
