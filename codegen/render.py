"""Rendering: from a problem and a config to a stage's source. The only use of Jinja."""

from __future__ import annotations

import textwrap
from functools import cache
from importlib.resources import files

import jinja2

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.errors import TemplateError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec


def render(spec: KernelSpec, problem: Problem, config: Config, *, interpret: bool = False) -> str:
    """Render one stage as a Python file that stands alone.

    Args:
        spec: the stage.
        problem: supplies heads, head dims, dtype and flags.
        config: a value for every axis the stage sees, already checked.
        interpret: whether the file will run in Triton's interpreter, whose dots misread bf16:
            operands are then rounded to bf16 and multiplied as fp32.

    Raises:
        TemplateError: with template, line and cause.
    """
    file = f"{spec.template}.py.jinja"
    variables = context(spec, problem, config) | {"INTERPRET": interpret}
    try:
        return _environment().get_template(file).render(variables)
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f"{file}, line {line}" if line else file
        raise TemplateError(
            f"{where} did not render for {problem.id()} with {dict(config)}: {error}"
        ) from error


def context(spec: KernelSpec, problem: Problem, config: Config) -> dict[str, object]:
    """The variables that a stage's template sees."""
    io = DTYPES[problem.dtype]
    store = DTYPES["fp32"] if config.get("store") == "fp32" else io
    return {
        "NAME": spec.name,
        "LABEL": textwrap.fill(spec.label(config), 100),
        "TEMPLATE": f"{spec.template}.py.jinja",
        "DOC": spec.summary(problem),
        "EQUATION": spec.maths(problem),
        "ARGUMENTS": spec.arguments(problem, config),
        "H": problem.H,
        "HV": problem.HV,
        "K": problem.K,
        "V": problem.V,
        "GROUP": problem.group,
        # query and key heads, and the one of value head i_h, as a kernel names them
        "HK": "H" if problem.group > 1 else "HV",
        "i_hk": "i_h // GROUP" if problem.group > 1 else "i_h",
        "GATE": problem.rule.gate,
        "DELTA": problem.rule.delta,
        "IO": io,
        "STORE": store,
        "VARLEN": problem.varlen,
        "INITIAL_STATE": problem.initial_state,
        "FINAL_STATE": problem.final_state,
        "GATE_IN_KERNEL": problem.gate_in_kernel,
        "DT_BIAS": problem.dt_bias,
        **config,
        **spec.context(problem, config),
    }


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_source),
        line_statement_prefix="#%",
        line_comment_prefix="#-",
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        optimized=False,  # a template is rendered a few times, and costs more to optimize
    )


def _source(name: str) -> str | None:
    path = files("gdn_ops.templates") / name
    return path.read_text() if path.is_file() else None
