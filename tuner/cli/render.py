"""``gdn render``: a variant's source, as a person would want to read it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cli import problem_options as option

USUAL_GPU = "h200"
"""For which Triton kernels are looked at where no target is named."""

FORMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("", {}),
    ("--decode", {"op": "decode"}),
    ("--backward", {"op": "backward"}),
    ("--gate vector", {"gate": "vector"}),
)
"""Options of problems, and the facts that they give, the plainest first."""


def render(
    name: Annotated[
        str | None,
        typer.Argument(help="A plan or a stage; without it, what this problem runs on here."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="AXIS=VALUE, or STAGE.AXIS=VALUE; may be repeated."),
    ] = None,
    axes: Annotated[bool, typer.Option("--axes", help="List the axes instead of source.")] = False,
    target: Annotated[
        str | None,
        typer.Option(help="Without a name: what the problem runs on there; with one: whether."),
    ] = None,
    H: option.H = None,
    HV: option.HV = None,
    K: option.K = None,
    V: option.V = None,
    dtype: option.DType = None,
    tokens: option.Tokens = None,
    sequences: option.Sequences = None,
    decode: option.Decode = False,
    backward: option.Backward = False,
    varlen: option.Varlen = False,
    gate: option.Gate = None,
    linear: option.Linear = False,
    initial_state: option.InitialState = False,
    final_state: option.FinalState = False,
    raw_gate: option.RawGate = False,
) -> int:
    """Print a kernel's source.

    Of all stages of a plan, or of one, rendered for a problem. What is not given is Qwen3-Next's:
    16 and 32 heads, K = V = 128, bf16, 2048 tokens.

    Examples:

        gdn render state --set BT=64 --set BV=32

        gdn render split --axes

        gdn render --decode
    """
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.render import render as render_stage
    from gdn_ops.tuner.report import console

    facts = option.given_facts(
        H=H, HV=HV, K=K, V=V, dtype=dtype, tokens=tokens, sequences=sequences, decode=decode,
        backward=backward, varlen=varlen, gate=gate, initial_state=initial_state,
        final_state=final_state, raw_gate=raw_gate, linear=linear,
    )  # fmt: skip
    problem = option.problem_from(facts)
    variant, stages = _chosen(name, problem, settings or [], target)
    if axes:
        _list_axes(variant, stages)
        return 0
    if name is not None:
        _note_refusals(variant, stages, problem, target)
    for stage in stages:
        console.source(render_stage(KERNELS[stage], problem, variant.config(stage)))
    return 0


def _chosen(
    name: str | None, problem: Problem, settings: list[str], target: str | None
) -> tuple[Variant, tuple[str, ...]]:
    """The variant to render, and which of its stages."""
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.plans import PLANS
    from gdn_ops.dispatch.explanation import explain
    from gdn_ops.tuner.cli.axis_values import variant_with

    if name is None:
        if settings:
            raise InvalidInput(f"--set {settings[0]} needs a plan or a stage to set it in.")
        variant = explain(problem, target=target).variant
        return variant, tuple(stage for stage, _ in variant.stages)
    if name in PLANS:
        variant = variant_with(name, problem, settings)
        return variant, tuple(stage for stage, _ in variant.stages)
    for plan in PLANS.values():
        if name in plan.stages(problem):
            return variant_with(plan.name, problem, settings), (name,)
    if name in KERNELS:
        raise InvalidInput(
            f"stage {name} is not used for {problem.id()}; {_remedy(name, problem)}."
        )
    raise UnknownName.of("plan or stage", name, (*PLANS, *KERNELS))


def _remedy(stage: str, problem: Problem) -> str:
    """The fewest options that make a problem for which a plan has the stage."""
    from gdn_ops.codegen.plans import PLANS

    sizes = {name: getattr(problem, name) for name in ("H", "HV", "K", "V", "dtype")}
    for options, facts in FORMS:
        form = option.problem_from({**sizes, **facts})
        if any(stage in plan.stages(form) for plan in PLANS.values()):
            return f"it is with {options}" if facts else "it is with no options but sizes"
    return "calls of gdn_ops.serving run it, and no option makes one"


def _note_refusals(
    variant: Variant, stages: tuple[str, ...], problem: Problem, target: str | None
) -> None:
    """Say beside the source why it would not be run; it is printed all the same, to be read."""
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.plans import PLANS
    from gdn_ops.codegen.targets import target_named
    from gdn_ops.tuner.report import console

    triton = any(KERNELS[stage].language == "triton" for stage in stages)
    where = target_named(target or (USUAL_GPU if triton else "cpu"))
    reasons = PLANS[variant.plan].reasons(problem, dict(variant.interface), where)
    for stage in stages:
        reasons += KERNELS[stage].reasons(problem, variant.config(stage), where)
    if reasons:
        why = "; ".join(dict.fromkeys(reasons))
        console.remark(f"this is never run for {problem.id()} on {where.name}: {why}")


def _list_axes(variant: Variant, stages: tuple[str, ...]) -> None:
    from gdn_ops.codegen.kernels import KERNELS
    from gdn_ops.codegen.plans import PLANS
    from gdn_ops.tuner.report import console

    homes = [("all stages", PLANS[variant.plan].axes, dict(variant.interface))]
    homes += [(stage, KERNELS[stage].axes, variant.config(stage)) for stage in stages]
    rows = [
        (home, axis.name, str(config[axis.name]), ", ".join(map(str, axis.values)), axis.doc)
        for home, axes, config in homes
        for axis in axes
    ]
    console.table(("stage", "axis", "value", "values", "what it is"), rows)
