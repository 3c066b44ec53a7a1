"""How stages on segments of sequences find them: tables of packed ones, arithmetic on others."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem


def segment_tables(problem: Problem) -> tuple[str, ...]:
    """The tables by which a program finds its segment."""
    return ("cu_segments", "sequence_of") if problem.varlen else ()


def tokens_of_a_row(problem: Problem, config: Config) -> tuple[str, ...]:
    """T, of which a program makes its segment where no table says it."""
    return () if problem.varlen else ("T",)
