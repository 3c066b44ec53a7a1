"""How stages on segments of sequences find their segment: by tables if packed, else from T."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tensor import Sizes, chunk_count, segment_tokens
from gdn_ops.codegen.tiling.state_walk import state_grid


def segment_tables(problem: Problem) -> tuple[str, ...]:
    """The tables from which a program reads where its segment is, if sequences are packed."""
    return ("cu_segments", "sequence_of") if problem.varlen else ()


def place_tables(problem: Problem) -> tuple[str, ...]:
    """``segment_tables``, and the table of the segment's place in its sequence."""
    return (*segment_tables(problem), "segment_offsets") if problem.varlen else ()


def chunk_tables(problem: Problem) -> tuple[str, ...]:
    """``place_tables``, and the table of the segment's first chunk in h."""
    return (*place_tables(problem), "chunk_offsets") if problem.varlen else ()


def row_tokens(problem: Problem, config: Config) -> tuple[str, ...]:
    """T, from which a program computes where its segment is, unless tables say so."""
    return () if problem.varlen else ("T",)


def segment_grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    """One program per segment, value head and slice of value channels."""
    return state_grid(problem, config, sizes._replace(N=sizes.NS))


def segment_bounds(problem: Problem, config: Config, sizes: Sizes) -> Mapping[str, int]:
    """Loop bounds of a program that walks one segment, or all segments of a sequence but one.

    ``i_w``, the chunk at which a walk begins because the decay hides all others, is the one that
    makes the walk longest: the segment's last chunk, for a walk to the first.
    """
    T = min(sizes.length, segment_tokens(config))
    last = chunk_count(T, int(config["BT"])) - 1
    return {"T": T, "i_w": last, "first": 0, "last": sizes.NS // sizes.N - 1}
