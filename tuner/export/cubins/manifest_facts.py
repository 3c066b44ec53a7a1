"""What the manifest of cubins has besides the proof: the device, the kernels and the sets."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.compiled.compile import Source
from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.check.static.compiler import Compiler
from gdn_ops.tuner.export.cubins.building import Cubin, built, key_of, source_of
from gdn_ops.tuner.export.cubins.kernel_set import kernel_set, parameters, stages_of
from gdn_ops.tuner.export.cubins.verification import differences
from gdn_ops.tuner.export.description import Description, ExportedWinner, LeftOut
from gdn_ops.tuner.export.plain import plain

_ARCH = re.compile(r"sm_(\d+)(\d)([af]?)")


@dataclass
class Exportable:
    """What of a description can be exported as cubins.

    Args:
        description: with the winners that can, the others named in ``left_out``.
        cubins: the content of each cubin by its file name.
        facts: ``runs_on``, ``kernels`` and ``sets`` of the manifest.
    """

    description: Description
    cubins: dict[str, bytes] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def exportable(description: Description) -> Exportable:
    """Compile the winners of a GPU of NVIDIA; those that a plain launch cannot run are left out.

    Raises:
        InvalidInput: no winner is left.
        CompileError: the machine failed to compile.
    """
    target, plans = description.target, []
    left_out: list[str] = []
    for winner in description.winners:
        stages = stages_of(winner.variant, winner.problem)
        reasons = _unlaunchable(stages)
        if reasons:
            left_out.append(_sentence(winner, target, reasons))
        else:
            plans.append((winner, {s.name: source_of(s, winner.problem, c) for s, c in stages}))
    if not plans:
        raise _nothing(target, left_out)
    cubins, compiler = built(
        (source for _, sources in plans for source in sources.values()), target
    )
    kept: list[ExportedWinner] = []
    kernels: dict[str, dict[str, Any]] = {}
    sets: list[dict[str, Any]] = []
    content: dict[str, bytes] = {}
    for winner, sources in plans:
        own, reasons = _kernels(winner, sources, cubins, target)
        if reasons:
            left_out.append(_sentence(winner, target, reasons))
            continue
        kept.append(winner)
        names = {}
        for stage, (kernel, cubin) in own.items():
            names[stage] = _add(kernels, kernel)
            content[kernel["file"]] = cubin.data
        own_set = kernel_set(winner.variant, winner.problem, names)
        facts = {"provenance": winner.winner.provenance, "median": winner.winner.median}
        sets.append({**own_set, **facts})
    for sentence in left_out:
        warnings.warn(sentence, LeftOut, stacklevel=2)
    if not kept:
        raise _nothing(target, left_out)
    arch = next(iter(kernels.values()))["arch"]
    return Exportable(
        replace(
            description, winners=tuple(kept), left_out=(*description.left_out, *left_out),
            denied=_denied(description, kept),
        ),
        content,
        {
            "runs_on": runs_on(target, arch, compiler),
            "kernels": dict(sorted(kernels.items())),
            "sets": sets,
        },
    )  # fmt: skip


def runs_on(target: Target, arch: str, compiler: Compiler) -> dict[str, Any]:
    """The devices and drivers that cubins run on, and the compiler that made them.

    Code for an architecture with a letter, e.g. ``sm_90a``, runs on that one only; other code on
    later ones of the same generation too. A driver of the assembler's generation of CUDA is needed.
    """
    found = _ARCH.fullmatch(arch)
    if found is None:
        raise InvalidInput(f"the cubins are for {arch!r}, which is no architecture of NVIDIA.")
    return {
        "target": plain(target.name, "target"),
        "arch": arch,
        "capability": [int(found[1]), int(found[2])],
        "exact": bool(found[3]),
        "least_driver": 1000 * int(compiler.ptxas.split(".")[0]),
        "triton": compiler.triton,
        "ptxas": compiler.ptxas,
    }


def _unlaunchable(stages: Sequence[tuple[KernelSpec, Config]]) -> list[str]:
    """Why stages have no cubin, known before they are compiled."""
    reasons = [
        f"stage {spec.name} is plain PyTorch, which a loader in C cannot run"
        for spec, _ in stages
        if not spec.compiled
    ]
    return reasons + [
        f"stage {spec.name} is a Gluon kernel, which takes tensor descriptors, and a loader in C "
        "makes none"
        for spec, _ in stages
        if spec.language == "gluon"
    ]


def _kernels(
    winner: ExportedWinner,
    sources: Mapping[str, Source],
    cubins: Mapping[tuple[object, ...], Cubin | str],
    target: Target,
) -> tuple[dict[str, tuple[dict[str, Any], Cubin]], list[str]]:
    """The kernel of each stage of a winner with its cubin, or why there is none."""
    found: dict[str, tuple[dict[str, Any], Cubin]] = {}
    reasons: list[str] = []
    for spec, config in stages_of(winner.variant, winner.problem):
        source = sources[spec.name]
        cubin = cubins[key_of(source)]
        if isinstance(cubin, str):
            reasons.append(f"stage {spec.name} does not compile: {cubin.rstrip('.')}")
            continue
        kernel = {
            "file": f"{spec.name}_{sha256(cubin.data).hexdigest()[:12]}.cubin",
            "symbol": spec.name,
            "bytes": len(cubin.data),
            "sha256": sha256(cubin.data).hexdigest(),
            "source": sha256(source.code.encode()).hexdigest(),
            "arch": cubin.arch,
            "ptx": cubin.ptx,
            "options": dict(source.options),
            "block": [cubin.warps * target.warp, 1, 1],
            "shared": cubin.shared,
            "global_scratch": 0,
            "profile_scratch": 0,
            "registers": cubin.registers,
            "stack": cubin.stack,
            "parameters": parameters(spec, winner.problem, config, target),
        }
        wrong = differences(cubin.data, kernel)
        why = [*cubin.refusals, *(sentence.rstrip(".") for sentence in wrong)]
        reasons += [f"stage {spec.name}: {sentence}" for sentence in why]
        found[spec.name] = kernel, cubin
    return found, reasons


def _add(kernels: dict[str, dict[str, Any]], kernel: dict[str, Any]) -> str:
    """Add a kernel unless it is there, and return its name.

    Two stages may have the same machine code and other promises; they are two kernels of one file.
    """
    stem, number = str(kernel["file"]).removesuffix(".cubin"), 1
    name = stem
    while name in kernels and kernels[name] != kernel:
        number += 1
        name = f"{stem}.{number}"
    kernels[name] = kernel
    return name


def _nothing(target: Target, left_out: Sequence[str]) -> InvalidInput:
    return InvalidInput(
        f"no winner for target {target.name} can be exported as cubins; the first one: "
        f"{left_out[0]} Tune other variants, or export another format."
    )


def _sentence(winner: ExportedWinner, target: Target, reasons: Sequence[str]) -> str:
    return (
        f"the winner of {winner.problem.id():.200} on {target.name} is left out: "
        f"{'; '.join(reasons):.600}."
    )


def _denied(description: Description, kept: Sequence[ExportedWinner]) -> tuple[Any, ...]:
    problems = {winner.problem.id() for winner in kept}
    return tuple(d for d in description.denied if d.trial.key.problem_id in problems)
