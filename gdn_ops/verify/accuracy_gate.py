"""The accuracy gate: a variant passes if every case is accurate and always gives equal bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from time import perf_counter, sleep
from typing import Any

import torch
from torch import Tensor

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.errors import KernelFault
from gdn_ops.inputs.pools import outputs_of
from gdn_ops.launch.bind import bind
from gdn_ops.launch.call import Call
from gdn_ops.launch.launcher import GIVEN, Launcher
from gdn_ops.launch.pool_call import PoolCall
from gdn_ops.verify.accuracy import (
    NOT_FINITE,
    bar,
    first_wrong,
    rms_error,
    same_bits,
    tiny_of,
)
from gdn_ops.verify.expected import Expected, expected, inputs_of, within_sequences
from gdn_ops.verify.gate_cases import Case, first_use_cases, gate_cases
from gdn_ops.verify.poison import poisoned_memory, surrounded_by_nan

POOL = ("pool", "slots", "accepted")
"""Further inputs of a call on a pool; ``pools.outputs_of`` restores the slots that it writes."""
REPEATS = 2
"""Runs of a case that does not ask for every repeat."""
HANG_SECONDS = 20.0
"""A kernel that runs longer on a case of a first use is taken to hang; they take milliseconds."""
COMPILING = 2
"""Cases at first use whose kernels are compiled: ragged ones, and those with whole chunks."""
STATUSES = ("ok", "nondeterministic", "wrong")


@dataclass(frozen=True)
class CaseResult:
    """The result of one case.

    Args:
        errors: error of each output, as ``accuracy.rms_error`` gives it.
        worst: the largest ratio of an error to its bar; 1 is the limit.
        status: ``ok``, ``wrong`` or ``nondeterministic``.
        fault: what is wrong, in words; empty if ok.
    """

    name: str
    errors: dict[str, float]
    worst: float
    status: str = "ok"
    fault: str = ""


@dataclass(frozen=True)
class GateResult:
    """The result of all cases.

    Args:
        status: the worst status of a case.
        errors: the largest error of each output.
        cases: the result of each case.
        message: the worst case, in words.
    """

    status: str
    errors: dict[str, float]
    cases: tuple[CaseResult, ...]
    message: str


def run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Verify the variant of a worker's job.

    Args:
        job: problem (facts), variant (JSON), device, interpret, repeats.

    Raises:
        GdnError: problem or variant cannot be read, rendered, compiled or launched.
    """
    problem = Problem.from_facts(job["problem"])
    variant = Variant.from_json(job["variant"], problem)
    verdict = verify(
        problem, variant, device=job["device"], interpret=job["interpret"], repeats=job["repeats"]
    )
    return asdict(verdict)


def verify(
    problem: Problem,
    variant: Variant,
    *,
    device: str = "cpu",
    interpret: bool = False,
    repeats: int = REPEATS,
) -> GateResult:
    """Run a variant on every case and compare its outputs with the recurrence in float64.

    The memory that the variant allocates and the memory around its inputs are filled with NaN, so
    that an element that is not written, or a read out of bounds, shows. The inputs and the memory
    behind outputs must not change.

    Args:
        interpret: run the kernels in the interpreters of Triton and Gluon, on tiny cases.
        repeats: runs that must give the same bits.
    """
    cases = gate_cases(
        problem,
        BT=chunk_size(variant),
        segment=_segment(variant),
        gpu=torch.device(device).type != "cpu",
        interpret=interpret,
    )
    results = []
    with torch.no_grad():
        for case in cases:
            launcher = bind(case.problem, variant, interpret=interpret)
            times = repeats if case.every_repeat else min(repeats, REPEATS)
            if interpret:
                times = (
                    1  # the interpreter runs one program after another, so its bits never change
                )
            results.append(_examine(case, launcher, expected(case, device), times))
    return _gate_result(results)


def verify_first_use(
    problem: Problem, variant: Variant, *, device: str, seconds: float
) -> GateResult:
    """Run a variant on a few small cases, as ``verify`` does on all, before its first use.

    Its status may also be ``timeout``, if a kernel hangs.

    Args:
        device: a GPU.
        seconds: no case is started after so many seconds. The first ones do not count, because
            their kernels are compiled first.
    """
    cases = first_use_cases(problem, BT=chunk_size(variant), segment=_segment(variant))
    results: list[CaseResult] = []
    start = perf_counter()
    with torch.no_grad():
        for case in cases:
            if len(results) >= COMPILING and perf_counter() > start + seconds:
                break
            launcher, right = bind(case.problem, variant), expected(case, device)
            if len(results) < COMPILING and not _finishes(launcher, right.call, device):
                fault = f"{case.name!r}: its kernels have not finished after {HANG_SECONDS:g} s"
                return GateResult("timeout", {}, tuple(results), fault)
            results.append(_examine(case, launcher, right, REPEATS))
            if results[-1].status != "ok":
                break
            if len(results) <= COMPILING:
                start = perf_counter()
    return _gate_result(results)


def _finishes(launcher: Launcher, call: Call, device: str) -> bool:
    """Whether the kernels of a call end in time; compiling them, which comes first, may be slow."""
    call = surrounded_by_nan(call)  # a pool is written to
    if launcher.problem.op == "backward":
        launcher.gradients(call)
    else:
        launcher(call)
    done, end = _done(device), perf_counter() + HANG_SECONDS
    while not done():
        if perf_counter() > end:
            return False
        sleep(1e-3)
    return True


def _done(device: str) -> Callable[[], bool]:
    """Return what tells whether a GPU has done all that it was given until now."""
    query: Callable[[], bool] = torch.cuda.current_stream(device).record_event().query
    return query


def _segment(variant: Variant) -> int:
    """Tokens per segment of a variant that cuts sequences into segments, else 0."""
    return chunk_size(variant) * int(dict(variant.interface).get("SEG", 0))


def chunk_size(variant: Variant) -> int:
    """The chunk size BT of a variant, an axis of its interface or a stage; 0 if it has none."""
    configs = [variant.interface, *(config for _, config in variant.stages)]
    return next((int(value) for c in configs for name, value in c if name == "BT"), 0)


def _gate_result(results: list[CaseResult]) -> GateResult:
    worst = max(results, key=lambda result: (STATUSES.index(result.status), result.worst))
    errors: dict[str, float] = {}
    for result in results:
        for name, error in result.errors.items():
            errors[name] = max(error, errors.get(name, 0.0))
    nearest = f"{worst.name!r} comes closest to its bar, at {worst.worst:.0%} of it"
    return GateResult(worst.status, errors, tuple(results), worst.fault or nearest)


def _examine(case: Case, launcher: Launcher, right: Expected, times: int) -> CaseResult:
    """Run a case once to check its accuracy and, if it is right, again to compare the bits."""
    call = surrounded_by_nan(right.call)
    with poisoned_memory() as guards:
        try:
            outputs = _outputs(launcher, call)
        except KernelFault as error:
            text = f"{case.name!r}: {error}"
            return CaseResult(case.name, {}, NOT_FINITE, "wrong", text)
    result = _compare(case, launcher.variant, outputs, right)
    if result.status != "ok":
        return result
    overwritten = guards.overwritten() or _changed_input(call, surrounded_by_nan(right.call))
    if overwritten:
        return replace(result, status="wrong", fault=f"{case.name!r}: {overwritten}")
    for n in range(2, times + 1):
        with poisoned_memory():
            again = _outputs(launcher, call)
        differing = [name for name, x in outputs.items() if not same_bits(x, again[name])]
        if differing:
            names = " and ".join(differing)
            fault = f"{case.name!r}: {names} of run {n} differs in bits from run 1"
            return replace(result, status="nondeterministic", fault=fault)
    return result


def _outputs(launcher: Launcher, call: Call) -> dict[str, Tensor]:
    """The outputs of a call, by name."""
    if launcher.problem.op == "backward":
        return within_sequences(launcher.gradients(call), call)
    if isinstance(call, PoolCall):
        return within_sequences(outputs_of(launcher, call), call)
    o, ht = launcher(call)
    return within_sequences({"o": o} if ht is None else {"o": o, "ht": ht}, call)


def _compare(
    case: Case, variant: Variant, outputs: Mapping[str, Tensor], right: Expected
) -> CaseResult:
    """Compare every output with its bar; the fault names the output farthest above it."""
    errors: dict[str, float] = {}
    worst, fault = 0.0, ""
    offsets = list(right.call.packing.offsets) if right.call.packing else []
    for name, ref in right.outputs.items():
        form, wanted = _form(outputs.get(name)), _form(ref.to(_dtype(name, right.call)))
        if form != wanted:
            fault = f"{case.name!r}: {name} is {form}, not {wanted}"
            return CaseResult(case.name, {**errors, name: NOT_FINITE}, NOT_FINITE, "wrong", fault)
        limit = bar(name, case.problem, variant, slack=case.slack)
        tiny = tiny_of(name, variant, limit)
        errors[name] = error = rms_error(outputs[name], ref, tiny=tiny)
        if error > max(1.0, worst) * limit:
            place = first_wrong(name, outputs[name], ref, limit, offsets)
            wrong = f"error {error:.2g} of {name}, bar {limit:.2g}"
            if error == NOT_FINITE:
                wrong = f"NaN or infinity in {name}"
            fault = f"{case.name!r}: {wrong}, {place}"
        worst = max(worst, error / limit)
    return CaseResult(case.name, errors, worst, "wrong" if fault else "ok", fault)


def _form(x: Tensor | None) -> str:
    return "missing" if x is None else f"{x.dtype} {list(x.shape)}".removeprefix("torch.")


def _dtype(name: str, call: Call) -> torch.dtype:
    """The dtype that an output must have: q's for o, float32 for ht, its input's for a gradient."""
    of_input = {f"d{n}": x.dtype for n, x in inputs_of(call).items()}
    return {"o": call.q.dtype, "ht": torch.float32, **of_input}[name]


def _changed_input(call: Call, before: Call) -> str:
    """Name the inputs that a run changed, including the memory around them."""
    names = (*GIVEN, *(POOL if isinstance(before, PoolCall) else ()))
    given = [name for name in names if getattr(before, name) is not None]
    rooms = {
        name: (_allocation(getattr(before, name)), _allocation(getattr(call, name)))
        for name in given
    }
    changed = [name for name, (a, b) in rooms.items() if not same_bits(a, b)]
    return f"it writes into its input {' and '.join(changed)}" if changed else ""


def _allocation(x: Tensor) -> Tensor:
    """The whole allocation that a tensor is part of."""
    return x.as_strided((x.untyped_storage().nbytes() // x.element_size(),), (1,), 0)
