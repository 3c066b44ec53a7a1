"""The problems whose kernels the accuracy gate runs, too: with both states and with neither."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gdn_ops.codegen.problem import Problem


def with_other_states(problem: Problem) -> Iterator[Problem]:
    """The problem with both states and with neither, without the given problem itself."""
    for given in (True, False) if problem.op != "pool" else ():
        if (problem.initial_state, problem.final_state) != (given, given):
            yield replace(problem, initial_state=given, final_state=given)
