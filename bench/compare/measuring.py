"""One case measured: every contender in turn, by CUDA graph and eagerly, with its errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.compare.accuracy import errors, reference_of
from bench.compare.cases import Case
from bench.compare.contender import Bound, Contender, Outputs
from bench.compare.inputs import Inputs, input_sets, inputs_of
from gdn_ops.tuner.measure.interleaving import interleaved
from gdn_ops.tuner.measure.statistics import estimate
from gdn_ops.tuner.measure.timers import CaptureError, Sampler, Timer, timer_of


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Rounds at least, and seconds for all contenders of a case."""

    rounds: int = 7
    seconds: float = 2.0


class Uncapturable(Exception):
    """A contender's calls cannot be captured, and this process may be of no use any more."""


class Lost(Exception):
    """A contender, ``name``, has left this process, or its inputs, of no use to the others."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why


def measure(
    case: Case,
    contenders: Sequence[Contender],
    *,
    device: torch.device,
    threads: int,
    pace: Pace,
    eager: frozenset[str] = frozenset(),
    at: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """Time a case.

    Args:
        eager: contenders that are known not to be capturable.
        at: told whose turn it is, and of an empty name when all are timed in turn.

    Returns:
        ``conditions`` and by contender either ``refused`` (why), ``failed`` (its error), or
        ``errors`` by output and ``times`` by method: median, low, high, samples in seconds.

    Raises:
        Uncapturable: names a contender; measure again in a new process, with it in ``eager``.
        Lost: names a contender; measure again in a new process, without it.
    """
    timer = timer_of(device, threads=threads)
    first = inputs_of(case, device)
    inputs = input_sets(case, device, first, timer.argument_sets(first.bytes(case.op)))
    found: dict[str, Any] = {}
    samplers: dict[str, Mapping[str, Sampler]] = {}
    with torch.no_grad():
        reference = reference_of(case, first)
        for contender in contenders:
            name = contender.name
            why = contender.refuses(case, device)
            if why:
                found[name] = {"refused": why}
                continue
            at(name)
            try:
                found[name], samplers[name] = _bound(
                    contender, case, inputs, reference, timer, name in eager
                )
            except CaptureError as error:
                raise Uncapturable(name) from error
            except Lost:
                raise
            except Exception as error:  # a peer may fail in any way; the others go on
                why = f"{type(error).__name__}: {error}"[:400]
                if not _usable(device):
                    raise Lost(name, why) from error
                found[name] = {"failed": why}
        at("")
        _sample(samplers, found, pace)
    conditions = {**timer.conditions(), "sets": len(inputs)}
    return {"contenders": found, "conditions": conditions}


def _bound(
    contender: Contender,
    case: Case,
    inputs: Sequence[Inputs],
    reference: Outputs,
    timer: Timer,
    eager: bool,
) -> tuple[dict[str, Any], Mapping[str, Sampler]]:
    """A contender's errors, and its samplers once it has met every set of inputs."""
    before = _sums(inputs[0], case.op)
    runs = [contender.bind(case, x) for x in inputs]
    row = {"errors": errors(runs[0](), reference), "times": {}}
    after = _sums(inputs[0], case.op)
    if changed := [name for name, total in before.items() if after[name] != total]:
        raise Lost(contender.name, f"it changes its inputs: {', '.join(changed)}")
    eager = eager or case.op in contender.eager
    samplers = timer.samplers(lambda i: _call(runs[i]), len(runs), eager=eager)
    return row, samplers


def _sums(x: Inputs, op: str) -> dict[str, float]:
    return {name: float(t.sum(dtype=torch.float64)) for name, t in x.tensors(op).items()}


def _call(run: Bound) -> Outputs:
    """Make a call; that it refuses to be captured is an error of the capture."""
    try:
        return run()
    except AssertionError as error:
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(f"AssertionError: {error}") from error
        raise


def _usable(device: torch.device) -> bool:
    """Whether a device still works: after an illegal access it does nothing for this process."""
    if device.type == "cpu":
        return True
    try:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True


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
