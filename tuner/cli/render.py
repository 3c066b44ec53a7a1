"""``gdn render``: prints the source of a variant."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gdn_ops.codegen.axis import Axis, Value
from gdn_ops.codegen.errors import InvalidInput, UnknownName, shown
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.json_fields import of_variant
from gdn_ops.tuner.cli.problem_options import ProblemOptions, problem_from
from gdn_ops.tuner.cli.shared_options import with_options

USUAL_GPU = "h200"
"""The target for Triton kernels if none is named."""

FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("", {}),
    ("--decode", {"op": "decode"}),
    ("--backward", {"op": "backward"}),
    ("--gate vector", {"gate": "vector"}),
    ("--decode --varlen", {"op": "decode", "varlen": True}),
    ("--backward --linear", {"op": "backward", "delta": False}),
    ("--backward --gate vector", {"op": "backward", "gate": "vector"}),
)
"""Options that change which stages a problem has, and their facts; the simplest first."""


@with_options(given=ProblemOptions)
def render(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A plan, a stage, or a variant as other commands print it or by its id; if left "
            "out, the variant that the problem runs on here."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="AXIS=VALUE or STAGE.AXIS=VALUE; may be repeated."),
    ] = None,
    axes: Annotated[
        bool, typer.Option("--axes", help="List the axes instead of the source.")
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(help="Target to render for instead of this machine."),
    ] = None,
    *,
    given: ProblemOptions,
) -> Answer:
    """Print the source of kernels.

    Prints all stages of a plan or a variant, or one stage, rendered for a problem. The id of a
    stored winner also stands for its problem.

    Options that are left out are those of Qwen3-Next: 16 query/key heads, 32 value heads,
    K = V = 128, bf16, 2048 tokens (with --decode: 8 sequences).

    Examples:

        gdn render chunk_h --set BT=64 --set BV=32

        gdn render split --axes

        gdn render --decode

        gdn render 'split BT=32 chunk_h(BV=32)'
    """
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.render import render as render_stage
    from gdn_ops.tuner.cli.named_variant import is_variant
    from gdn_ops.tuner.report import console

    problem, variant, stages = _chosen(name, given, settings or [], target)
    if axes:
        listed = _axes(variant, stages)
        columns = ("stage", "axis", "value", "values", "what it is")
        console.table(
            columns,
            [
                (home, axis.name, str(value), ", ".join(map(str, axis.values)), axis.doc)
                for home, axis, value in listed
            ],
        )
        rows = [
            {
                "stage": home, "axis": axis.name, "value": value, "values": axis.values,
                "meaning": axis.doc,
            }
            for home, axis, value in listed
        ]  # fmt: skip
        return Answer(0, {"problem_id": problem.id(), **of_variant(variant), "axes": rows})
    # a whole variant may be a winner of this CPU, which can do more than the target named cpu
    if name is not None and (target is not None or not is_variant(name)):
        _note_refusals(variant, stages, problem, target)
    sources = {
        stage: render_stage(KERNELS[stage], problem, variant.config(stage)) for stage in stages
    }
    for source in sources.values():
        console.source(source)
    rows = [{"stage": stage, "source": source} for stage, source in sources.items()]
    return Answer(0, {"problem_id": problem.id(), **of_variant(variant), "sources": rows})


def _chosen(
    name: str | None, given: ProblemOptions, settings: list[str], target: str | None
) -> tuple[Problem, Variant, tuple[str, ...]]:
    """The problem, the variant to render for it, and which of its stages."""
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.plans import PLANS
    from gdn_ops.dispatch.explain import explain
    from gdn_ops.tuner.cli.axis_values import variant_with
    from gdn_ops.tuner.cli.named_variant import is_variant, named_variant

    if name is not None and is_variant(name):
        if settings:
            raise InvalidInput(
                f"--set {settings[0]} changes a plan or a stage, and {shown(name)} is a whole "
                "variant; leave out one."
            )
        problem, variant = named_variant(name, given)
        return problem, variant, _stages_of(variant, problem)
    problem = given.problem()
    if name is None:
        if settings:
            raise InvalidInput(f"--set {settings[0]} needs a plan or a stage; name one before it.")
        variant = explain(problem, target=target).variant
        return problem, variant, _stages_of(variant, problem)
    if name in PLANS:
        variant = variant_with(name, problem, settings)
        return problem, variant, _stages_of(variant, problem)
    for plan in PLANS.values():
        if name in plan.stages(problem):
            return problem, variant_with(plan.name, problem, settings), (name,)
    if name in KERNELS:
        raise InvalidInput(
            f"stage {name} is not used for {problem.id()}; {_remedy(name, problem)}."
        )
    raise UnknownName.of("plan or stage", name, (*PLANS, *KERNELS))


def _stages_of(variant: Variant, problem: Problem) -> tuple[str, ...]:
    """The stages of a variant; raises InvalidInput for a provider, which has no source here."""
    if variant.provider:
        raise InvalidInput(
            f"{problem.id()} runs on the provider {variant}, whose source is its own; name a "
            "plan to render."
        )
    return tuple(stage for stage, _ in variant.stages)


def _remedy(stage: str, problem: Problem) -> str:
    """The simplest options with which a plan has the stage."""
    from gdn_ops.codegen.plans import PLANS
    from gdn_ops.tuner.spaces.problems import pool

    sizes = {name: getattr(problem, name) for name in ("H", "HV", "K", "V", "dtype")}
    for options, facts in FORMS:
        form = problem_from({**sizes, **facts})
        if any(stage in plan.stages(form) for plan in PLANS.values()):
            return f"it is used with {options}" if facts else "it is used without these options"
    if any(stage in plan.stages(pool(sequences=1)) for plan in PLANS.values()):
        return "only calls of gdn_ops.serving use it, which no option describes"
    return "no plan has it; add it to the stages of a plan in codegen/plans"


def _note_refusals(
    variant: Variant, stages: tuple[str, ...], problem: Problem, target: str | None
) -> None:
    """Say on standard error why the printed source would not be run on the target."""
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.plans import PLANS
    from gdn_ops.codegen.targets import target_named
    from gdn_ops.tuner.report import console

    compiled = any(KERNELS[stage].compiled for stage in stages)
    where = target_named(target or (USUAL_GPU if compiled else "cpu"))
    reasons = PLANS[variant.plan].reasons(problem, dict(variant.interface), where)
    for stage in stages:
        reasons += KERNELS[stage].reasons(problem, variant.config(stage), where)
    if reasons:
        why = "; ".join(dict.fromkeys(reasons))
        console.remark(f"this would not run for {problem.id()} on {where.name}: {why}")


def _axes(variant: Variant, stages: tuple[str, ...]) -> list[tuple[str, Axis, Value]]:
    """The axes of a variant, each with where it belongs and its value."""
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.plans import PLANS

    homes = [("all stages", PLANS[variant.plan].axes, dict(variant.interface))]
    homes += [(stage, KERNELS[stage].axes, variant.config(stage)) for stage in stages]
    return [(home, axis, config[axis.name]) for home, axes, config in homes for axis in axes]
