"""The hash of a rendered stage's code, which a stored row keeps to tell what was run."""

from __future__ import annotations

import hashlib
import re
from functools import cache

from gdn_ops.codegen.axis import Value, defaults
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.python_words import words
from gdn_ops.codegen.render import render
from gdn_ops.codegen.variant import Provided, Variant


def source_hashes(problem: Problem, variant: Variant) -> dict[str, str]:
    """The hash of each stage's code, by stage name; of a provider its version, which stands for it.

    Everything that shapes a kernel (template, context, axes) shows in its code. Launch axes shape
    none of it. The stage's name, docstrings and comments are left out, so that rewording a template
    or renaming a stage leaves stored measurements valid.

    Raises:
        TemplateError: a stage does not render.
    """
    if isinstance(variant, Provided):
        return {variant.provider: variant.version}
    sizeless = problem.without_sizes()  # so that all sizes of a problem are rendered once
    return {
        name: _source_hash(name, sizeless, _shaping(name, variant)) for name, _ in variant.stages
    }


def code_of(source: str, stage: str) -> str:
    """The code of a rendered file: its tokens without docstrings, comments and the stage's name."""
    source = re.sub(r'^( *)""".*?"""\n', "", source, flags=re.DOTALL | re.MULTILINE)
    return "\n".join("stage" if word == stage else word for word in words(source))


def _shaping(stage: str, variant: Variant) -> tuple[tuple[str, Value], ...]:
    """A stage's config with its launch axes at their defaults, so that it is rendered once."""
    launch = defaults([axis for axis in KERNELS[stage].axes if axis.launch])
    return tuple({**variant.config(stage), **launch}.items())


@cache
def _source_hash(stage: str, problem: Problem, config: tuple[tuple[str, Value], ...]) -> str:
    code = code_of(render(KERNELS[stage], problem, dict(config)), stage)
    return hashlib.sha256(code.encode()).hexdigest()[:16]
