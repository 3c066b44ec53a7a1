"""A variant that the command line names as other commands print it: by its text or its id."""

from __future__ import annotations

from gdn_ops.codegen.errors import InvalidInput, shown
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.codegen.variant_text import ID
from gdn_ops.tuner.cli.problem_options import ProblemOptions


def is_variant(name: str) -> bool:
    """Whether a name is the text or the id of a variant, rather than of a plan or a stage."""
    return any(sign in name for sign in " (#=") or ID.fullmatch(name) is not None


def named_variant(name: str, given: ProblemOptions) -> tuple[Problem, Variant]:
    """The variant of a text or id, and the problem it is for.

    An id is looked up among the stored winners, with the problem of the winner unless options
    describe another one. A text that has an id behind it is read only if no winner has the id.

    Raises:
        InvalidInput: no winner has the id, and there is no text.
        UnknownName, InvalidConfig: a plan, stage, axis or value does not exist.
    """
    text, _, short = name.partition("#")
    if ID.fullmatch(name):
        text, short = "", name
    if found := ID.fullmatch(short.strip()):
        winner = _winner(found[1])
        if winner is not None:
            return winner if not given.facts() else (given.problem(), winner[1])
    if not text.strip():
        raise InvalidInput(
            f"no stored winner has the id {shown(name)}; `gdn show` lists the winners with their "
            "ids."
        )
    problem = given.problem()
    return problem, Variant.from_text(text, problem)


def _winner(digits: str) -> tuple[Problem, Variant] | None:
    """The first stored winner whose variant's hash begins with some digits."""
    from gdn_ops.tuner.store.winner_tables import load_winners

    for winner in load_winners().winners:
        if winner.variant_id.rpartition("-")[2].startswith(digits):
            problem = Problem.from_facts(winner.facts)
            return problem, Variant.from_json(winner.variant, problem)
    return None
