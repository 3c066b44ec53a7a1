"""The probe: a child process of ``gdn check`` that runs on the code of one side.

It is started by path, as ``python probe.py WORKER PARENT``. The side's folder is first on Python's
path, so every ``gdn_ops`` that is imported is the side's. WORKER is the path of the ``worker.py``
whose protocol is spoken, on both sides that of the running command.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

KEEPER = "gdn_ops.workers.keeper"
JOBS = {name: f"__main__:{name}" for name in ("ready", "winners", "describe", "verify", "measure")}


def main() -> None:
    # the folder of this script, in which other modules of the running command are
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    # an editable install would fill in the modules that the side does not have
    sys.meta_path[:] = [finder for finder in sys.meta_path if not _is_editable(finder)]
    path = Path(sys.argv.pop(1))
    with _prints_to_stderr():  # it imports gdn_ops, and answers are sent over standard output
        # what the worker imports next to it is the running command's too; an old side has none
        sys.modules[KEEPER] = _loaded(KEEPER, path.with_name("keeper.py"))
        worker = _loaded("worker", path)
    worker.main(JOBS)


def _loaded(name: str, path: Path) -> ModuleType:
    """The module of a file, without the package that it is in."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _is_editable(finder: object) -> bool:
    return getattr(finder, "__module__", "").startswith("__editable___gdn_ops")


@contextmanager
def _prints_to_stderr() -> Iterator[None]:
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(own, 1)
        os.close(own)


def ready(job: Mapping[str, Any]) -> dict[str, Any]:
    """Import what measuring needs, so that the first measurement does not wait for it."""
    import gdn_ops.tuner.measure.measurement  # noqa: F401

    return {}


def winners(job: Mapping[str, Any]) -> dict[str, Any]:
    """The side's device, environment and problems with measured winners.

    Args:
        job: device (``auto``, ``cpu`` or ``cuda:0``) and threads (None: PyTorch's default).

    Returns:
        ``absent``, a sentence, if this machine does not have the device; else what ``SideFacts``
        holds, and the folder ``root`` that gdn_ops was imported from.
    """
    import torch

    import gdn_ops
    from gdn_ops.codegen.errors import InvalidInput
    from gdn_ops.dispatch.device import target_of
    from gdn_ops.dispatch.winners import load_winners
    from gdn_ops.tuner.measure.fingerprint import fingerprint

    # a base may be older than the file that thread_count is in now
    from gdn_ops.tuner.session import device_named, thread_count

    threads = thread_count(job["threads"])
    try:
        device = device_named(job["device"])
    except InvalidInput as error:
        return {"absent": str(error)}
    torch.set_num_threads(threads)
    target = target_of(torch.device(device))
    facts = fingerprint(device, arch=target.arch)
    environment = {name: str(value) for name, value in asdict(facts).items() if value is not None}
    table = load_winners()
    # predictions ship for more problems than a check has time for
    measured = [w for w in table.winners if w.provenance == "measured"]
    return {
        "root": str(Path(str(gdn_ops.__file__)).parent.parent.resolve()),
        "device": device,
        "threads": threads,
        "target": target.name,
        "environment": environment | _compiler(target.gpu),
        "problems": [w.facts for w in measured if w.target == target.name],
        "faults": [str(fault) for fault in table.faults],
    }


def describe(job: Mapping[str, Any]) -> dict[str, Any]:
    """What the side runs each problem on.

    Args:
        job: device and a list of facts ``problems``.

    Returns:
        ``rows``, one per problem: id, op and dtype of its bucket, and either ``variant`` (JSON),
        ``text``, ``how`` it was found and ``key``, a hash of everything between the arguments and
        the results of a call, or ``error``, why the side cannot run it.
    """
    import torch

    from gdn_ops.dispatch.device import target_of

    target = target_of(torch.device(job["device"]))
    around = _launch_code()
    return {"rows": [_described(facts, target, around) for facts in job["problems"]]}


def verify(job: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a variant with the recurrence in fp64; see ``gdn_ops.verify``."""
    # an older side has the gate in the tuner
    name = (
        "gdn_ops.verify" if importlib.util.find_spec("gdn_ops.verify") else "gdn_ops.tuner.verify"
    )
    gate = importlib.import_module(f"{name}.accuracy_gate")
    verdict: dict[str, Any] = gate.run(job)
    return verdict


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """Take samples of one variant, for a while.

    The variant and its arguments stay prepared for the next job, if that is of the same variant.

    Args:
        job: problem (facts), variant (JSON), device, threads, rounds (samples at least), seconds
            and companions (other processes of this check on the device).

    Returns:
        ``samples`` in seconds per call, ``method``, ``warnings`` about the device and its ``clock``
        in MHz; None if it is not known.
    """
    import torch

    name = json.dumps([job["problem"], job["variant"]], sort_keys=True)
    if name not in _prepared:
        _prepared.clear()
        gc.collect()
        _prepared[name] = _prepare(job)
    timer, method, sample = _prepared[name]
    samples: list[float] = []
    with torch.no_grad():
        gc.disable()
        try:
            # the other side ran in between: the first sample finds its data in the caches
            sample()
            end = perf_counter() + job["seconds"]
            while len(samples) < job["rounds"] or perf_counter() < end:
                samples.append(sample())
        finally:
            gc.enable()
    # the load of a CPU is this check's own; what disturbs it shows in the spread of the samples
    state = {} if job["device"] == "cpu" else timer.conditions()["after"]
    return {
        "samples": samples,
        "method": method,
        "warnings": disturbances(state, job["companions"]),
        "clock": state.get("sm_mhz"),
    }


def disturbances(state: Mapping[str, Any], companions: int) -> list[str]:
    """What slowed a GPU down in the state that NVML reports, in words.

    Args:
        companions: processes of this check on the GPU, which compute in turns.
    """
    from gdn_ops.tuner.measure.timers.nvml import gpu_warnings

    if "throttled" not in state:
        return []
    return gpu_warnings(state["throttled"], state["processes"] - companions)


_prepared: dict[str, tuple[Any, str, Any]] = {}


def _prepare(job: Mapping[str, Any]) -> tuple[Any, str, Any]:
    import torch

    from gdn_ops.codegen.problem import Problem
    from gdn_ops.codegen.variant import Variant
    from gdn_ops.tuner.measure.measurement import run_of
    from gdn_ops.tuner.measure.timers import timer_of

    bind = _of_side("bind", "gdn_ops.launch.bind", "gdn_ops.launch.launcher")
    calls_of = _of_side(
        "calls_of", "gdn_ops.tuner.measure.calls", "gdn_ops.tuner.measure.measurement"
    )

    device = torch.device(job["device"])
    problem = Problem.from_facts(job["problem"])
    timer = timer_of(device, threads=job["threads"])
    with torch.no_grad():
        calls = calls_of(problem, timer, device)
        run = run_of(bind(problem, Variant.from_json(job["variant"], problem)), calls)
        samplers = timer.samplers(run, len(calls), all_methods=False)
    method, sample = next(iter(samplers.items()))
    return timer, method, sample


def _of_side(name: str, module: str, before: str) -> Any:
    """A function of the side, which an old side has in another module."""
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return getattr(importlib.import_module(before), name)


def _described(facts: Mapping[str, Any], target: Any, around: str) -> dict[str, Any]:
    from gdn_ops.codegen.errors import GdnError
    from gdn_ops.codegen.problem import Problem
    from gdn_ops.dispatch.choice import choose

    try:
        problem = Problem.from_facts(facts).bucket()
        choice = choose(problem, target)
        if _provider(choice.variant):
            choice = choose(problem, target, faults=_providers)
        variant = choice.variant
        return {
            "id": problem.id(),
            "facts": problem.facts(),
            "op": problem.op,
            "dtype": problem.dtype,
            "variant": variant.to_json(),
            "text": str(variant),
            "how": choice.how,
            "key": _key(problem, variant, target, around),
        }
    except (GdnError, KeyError, TypeError) as error:
        return {"facts": dict(facts), "error": str(error)}


def _providers(problem: Any, variant: Any) -> list[str]:
    """A check compares our own kernels; a revision without providers passes over them too."""
    return ["it is a provider"] if _provider(variant) else []


def _provider(variant: Any) -> str:
    """The provider of a variant; revisions before it had this name call it ``library``."""
    return getattr(variant, "provider", "") or getattr(variant, "library", "")


def _key(problem: Any, variant: Any, target: Any, around: str) -> str:
    """A hash of everything between the arguments and the results of a call."""
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.source_hash import source_hashes
    from gdn_ops.codegen.tensor import Sizes

    stages = []
    for name, _ in variant.stages:
        spec, config = KERNELS[name], variant.config(name)
        grid = spec.grid(problem, config, Sizes.typical(problem, config))
        stages.append([spec.arguments(problem, config), spec.outputs(problem, config), grid])
    parts = [variant.to_json(), source_hashes(problem, variant), stages, target.name, around]
    return _hash(json.dumps(parts, sort_keys=True))


def _launch_code() -> str:
    """A hash of the code that launches kernels, without docstrings and comments."""
    import gdn_ops
    from gdn_ops.codegen.source_hash import code_of

    folder = Path(str(gdn_ops.__file__)).parent / "launch"
    files = sorted(folder.rglob("*.py"))
    return _hash("\n".join(f"{f.name}\n{code_of(f.read_text(), '')}" for f in files))


def _compiler(gpu: bool) -> dict[str, str]:
    """The version of the assembler that Triton uses for an NVIDIA GPU."""
    if gpu:
        with suppress(ImportError, AttributeError, OSError):
            from triton import knobs

            return {"ptxas": str(knobs.nvidia.ptxas.version)}
    return {}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    main()
