"""How stages on segments of sequences find them: tables of packed ones, arithmetic on others."""

from __future__ import annotations

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.state_walk import state_grid


def segment_tables(problem: Problem) -> tuple[str, ...]:
    """The tables by which a program finds its segment."""
    return ("cu_segments", "sequence_of") if problem.varlen else ()


def place_tables(problem: Problem) -> tuple[str, ...]:
    """The same, and by which it knows the segment's place in its sequence."""
    return (*segment_tables(problem), "segment_offsets") if problem.varlen else ()


def chunk_tables(problem: Problem) -> tuple[str, ...]:
    """The same, and by which it finds the segment's first chunk in h."""
    return (*place_tables(problem), "chunk_offsets") if problem.varlen else ()


def tokens_of_a_row(problem: Problem, config: Config) -> tuple[str, ...]:
    """T, of which a program makes its segment where no table says it."""
    return () if problem.varlen else ("T",)


def segment_grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    """A program a segment, value head and slice of value channels."""
    return state_grid(problem, config, sizes._replace(N=sizes.NS))
