"""``gdn compile``: compiles kernels for a GPU, which this machine need not have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.json_fields import of_compiled
from gdn_ops.tuner.cli.numbers import above_zero
from gdn_ops.tuner.cli.problem_options import ProblemOptions
from gdn_ops.tuner.cli.shared_options import with_options

if TYPE_CHECKING:
    from gdn_ops.tuner.workers.offline import CompileRow


@with_options(given=ProblemOptions)
def compile(
    target: Annotated[str, typer.Option(help="Name of a GPU: h200, a100, b200, mi300x, ...")],
    plan: Annotated[list[str] | None, typer.Option(help="Only this plan; may be repeated.")] = None,
    stage: Annotated[
        list[str] | None, typer.Option(help="Only this stage; may be repeated.")
    ] = None,
    configs: Annotated[
        str,
        typer.Option(
            help="Configs of each stage: default, corners (each axis at its first and last value) "
            "or all."
        ),
    ] = "default",
    jobs: Annotated[
        int | None, typer.Option(help="Compilers that run in parallel; all cores by default.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds after which a compiler is killed.")
    ] = 60.0,
    *,
    given: ProblemOptions,
) -> Answer:
    """Compile kernels for a GPU, which this machine need not have.

    Prints for each stage: registers per thread, bytes of stack per thread (above 0 if registers
    spill), bytes of shared memory per block, occupancy, matrix instructions by kind, all
    instructions, and the time to compile. A config that could not be launched on the GPU is listed
    with the reason. Configs that spill are listed last. Each config is compiled in a child process.

    Options that are left out are those of Qwen3-Next: 16 query/key heads, 32 value heads,
    K = V = 128, bf16, 2048 tokens (with --decode: 8 sequences).

    Examples:

        gdn compile --target h200

        gdn compile --target b200 --stage chunk_h --configs corners
    """
    from gdn_ops.codegen.targets import target_named
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.workers.offline import compile_variants, rank

    above_zero("--timeout", timeout)
    if jobs is not None:
        above_zero("--jobs", jobs)
    problem = given.problem()
    row = target_named(target)
    _check_language(problem, plan or (), stage or ())
    rows = compile_variants(
        problem, row, plans=plan, stages=stage, configs=configs, jobs=jobs, timeout=timeout
    )
    done = sorted(rows, key=lambda r: (r.plan, _order(r.stage), rank(r)))
    console.say(f"{problem.id()} for {row.name} ({row.arch})")
    columns = (
        "plan", "stage", "config", "registers>", "stack>", "shared>", "occupancy>", "matrix",
        "instructions>", "compiled>", "verdict",
    )  # fmt: skip
    console.table(columns, [_row(r) for r in done])
    plans = list(dict.fromkeys(r.plan for r in done))
    for name in plans:
        console.say(_traffic(name, problem, row))
    counts = {status: sum(r.status == status for r in done) for status in {r.status for r in done}}
    console.say(", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    results = {
        "problem_id": problem.id(), "target": row.name, "arch": row.arch,
        "rows": [of_compiled(r) for r in done],
        "traffic": [
            {"plan": name, "bytes_per_token_and_value_head": _default_bytes(name, problem)}
            for name in plans
        ],
    }  # fmt: skip
    return Answer(0 if any(r.status == "ok" for r in done) else 1, results)


def _check_language(problem: Problem, plans: Iterable[str], stages: Iterable[str]) -> None:
    """Refuse plans and stages that are not compiled for a GPU: plain PyTorch, and C++ for CPUs."""
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.plans import PLANS
    from gdn_ops.codegen.variant import plan_named

    def language(stages: Iterable[str]) -> str:
        return "C++ for CPUs" if any(KERNELS[s].cpp for s in stages) else "plain PyTorch"

    compiled = {spec.name for spec in KERNELS.values() if spec.compiled}
    usual = [plan.name for plan in PLANS.values() if compiled & {*plan.stages(problem)}]
    for name in plans:
        if not compiled & {*plan_named(name).stages(problem)}:
            raise InvalidInput(
                f"plan {name} is {language(plan_named(name).stages(problem))} and has no GPU "
                f"kernels to compile for {problem.id()}; name one of {', '.join(usual)}."
            )
    for name in stages:
        if name in KERNELS and name not in compiled:
            raise InvalidInput(
                f"stage {name} is {language((name,))} and is not compiled for a GPU; leave it out, "
                f"or print it with `gdn render {name}`."
            )


def _default_bytes(plan: str, problem: Problem) -> float:
    from gdn_ops.codegen.traffic import variant_bytes
    from gdn_ops.codegen.variant import Variant

    return variant_bytes(Variant.default(plan, problem), problem)


def _traffic(plan: str, problem: Problem, target: Target) -> str:
    """Bytes that a plan's default variant moves; of a backward also by what the forward saves."""
    from gdn_ops.codegen.saving_cost import kept_by_choice
    from gdn_ops.codegen.traffic import variant_bytes
    from gdn_ops.codegen.variant import Variant

    variant = Variant.default(plan, problem)
    moved = variant_bytes(variant, problem)
    text = f"plan {plan}, by its defaults: {moved:.0f} bytes per token and value head"
    if problem.op != "backward":
        return text
    before = replace(problem, op="forward")
    forward = Variant.default(plan, before)
    rows = kept_by_choice(forward, before, variant, problem, target)
    kept = (f", {r.moved:.0f} with {r.bytes:.0f} of {r.keep} kept" for r in rows if r.saved.names)
    return text + "".join(kept)


def _order(stage: str) -> int:
    from gdn_ops.codegen.kernels import KERNELS

    return list(KERNELS).index(stage)


def _row(row: CompileRow) -> tuple[str, ...]:
    verdict = ": ".join(filter(None, [row.status, _why(row)]))
    need = row.resources
    if need is None:
        return (row.plan, row.stage, _config(row), *("-",) * 7, verdict)
    matrix = " ".join(f"{kind} {count}" for kind, count in need.matrix.items() if count) or "none"
    return (
        row.plan,
        row.stage,
        _config(row),
        str(need.registers),
        str(need.stack),
        str(need.shared),
        f"{need.occupancy.fraction:.0%} ({need.occupancy.warps} warps)",
        matrix,
        str(need.instructions),
        "cached" if need.cached else f"{need.seconds:.1f} s",
        verdict if not need.stack else f"{verdict}, spills",
    )


def _config(row: CompileRow) -> str:
    """The axes that differ from the stage's defaults."""
    from gdn_ops.codegen.axis import defaults, differing
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.plans import PLANS

    usual = {**defaults(PLANS[row.plan].axes), **defaults(KERNELS[row.stage].axes)}
    return differing(row.config, usual) or "the defaults"


def _why(row: CompileRow) -> str:
    return "; ".join(row.reasons) or " ".join(row.message.split())
