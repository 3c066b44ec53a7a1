"""The problems that a command is for: of a workload, of a model, or one that options describe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.cli.model_options import ModelOptions
from gdn_ops.tuner.cli.problem_options import ProblemOptions, problem_from
from gdn_ops.tuner.spaces.workloads import Workload, workload_named

MINUTES = 10.0
"""Default time for tuning one problem."""


def workload_argument(usual: str) -> Any:
    """The argument by which a command takes a workload.

    Args:
        usual: the workload if nothing was given.
    """
    return typer.Argument(
        help="A workload as for `gdn tune`, or a JSON or TOML file of problems; by default "
        f"{usual}."
    )


def chosen_workload(
    name: str | None, model: ModelOptions, given: ProblemOptions, usual: str
) -> Workload:
    """The workload of a name or of a model, or the one problem that options describe.

    Args:
        name: the workload that was named.
        usual: the workload if nothing was given.

    Raises:
        InvalidInput: several were given, or one cannot be used.
        UnknownName: there is no workload of this name.
    """
    facts = given.facts()
    of_model = model.of_model(name, facts)
    if of_model is not None:
        return of_model
    if not facts:
        return workload_named(usual if name is None else name)
    refuse_both(name, facts)
    problem = problem_from(facts)
    return Workload(problem.id(), "one problem", (problem,), minutes=MINUTES)


def refuse_both(name: str | None, facts: Mapping[str, Any]) -> None:
    """Raise InvalidInput if a workload and options of a problem are given."""
    if name is not None and facts:
        raise InvalidInput(
            f"the workload {name!r} and options of a problem ({', '.join(facts)}) are given; leave "
            "out one of them."
        )
