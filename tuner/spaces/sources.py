"""Sources: what a variant is rendered to today, as stored trials remember it."""

from __future__ import annotations

from gdn_ops.codegen.errors import TemplateError
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.variant import Variant


def sources_of(problem: Problem, variant: Variant) -> dict[str, str] | None:
    """The hash of each stage's source; None where one does not render, of which nothing is known.

    A worker that is given such a variant says why it does not render.
    """
    try:
        return source_hashes(problem, variant)
    except TemplateError:
        return None
