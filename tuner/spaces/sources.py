"""Hashes of the sources that a variant renders to today, to compare with those of stored trials."""

from __future__ import annotations

from gdn_ops.codegen.errors import TemplateError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.variant import Variant


def sources_of(problem: Problem, variant: Variant) -> dict[str, str] | None:
    """The hash of each stage's source, by stage; None if a stage does not render.

    The error is not raised here: the worker that verifies the variant reports it.
    """
    try:
        return source_hashes(problem, variant)
    except TemplateError:
        return None
