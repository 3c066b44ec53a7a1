"""Measuring one case: time and errors of every contender, as a CUDA graph and eagerly."""

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
    """The minimum number of rounds, and the seconds for all contenders of a case."""

    rounds: int = 7
    seconds: float = 2.0


class Uncapturable(Exception):
    """A contender cannot be captured in a CUDA graph; this process may be unusable now."""


class Lost(Exception):
    """The contender ``name`` has made this process, or the inputs, unusable for the others."""

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
        case: the case.
        contenders: the contenders to time.
        device: the device.
        threads: CPU threads of PyTorch.
        pace: rounds and seconds.
        eager: the names of contenders that cannot be captured.
        at: called with the name of each contender when its turn begins, and with an empty name
            when the interleaved timing begins.

    Returns:
        ``conditions`` and ``contenders``; by contender either ``refused`` (the reason), ``failed``
        (the error), or ``errors`` by output and ``times`` by method (median, low, high and samples
        in seconds).

    Raises:
        Uncapturable: a contender cannot be captured; measure again in a new process, with it in
            ``eager``.
        Lost: a contender broke the process; measure again in a new process, without it.
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
            except Exception as error:  # a peer may fail in any way; measure the others
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
    """Bind a contender to every set of inputs; return its errors and its samplers."""
    before = _sums(inputs[0], case.op)
    runs = [contender.bind(case, x) for x in inputs]
    row = {"errors": errors(runs[0](), reference), "times": {}}
    after = _sums(inputs[0], case.op)
    if changed := [name for name, total in before.items() if after[name] != total]:
        raise Lost(contender.name, f"it modifies its inputs: {', '.join(changed)}")
    eager = eager or case.op in contender.eager
    samplers = timer.samplers(lambda i: _call(runs[i]), len(runs), eager=eager)
    return row, samplers


def _sums(x: Inputs, op: str) -> dict[str, float]:
    return {name: float(t.sum(dtype=torch.float64)) for name, t in x.tensors(op).items()}


def _call(run: Bound) -> Outputs:
    """Make a call; an AssertionError during a capture counts as an error of the capture."""
    try:
        return run()
    except AssertionError as error:
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(f"AssertionError: {error}") from error
        raise


def _usable(device: torch.device) -> bool:
    """Return whether the device still works; after an illegal access this process cannot use it."""
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
    """Sample all contenders in turn, one method after another."""
    methods = dict.fromkeys(method for by_method in samplers.values() for method in by_method)
    for method in methods:
        chosen = {name: by[method] for name, by in samplers.items() if method in by}
        seconds = pace.seconds / len(methods)
        for name, samples in interleaved(chosen, rounds=pace.rounds, seconds=seconds).items():
            center = estimate(samples)
            found[name]["times"][method] = {
                "median": center.median, "low": center.low, "high": center.high,
                "samples": samples,
            }  # fmt: skip
