"""What the stages share that walk the gates of a token, one a value head or one a channel."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem

BH = Axis("BH", (1, 4, 8, 16), 8, "value heads of one program; 8 channels each of a vector gate")
CHANNELS = 8


def gates_of_token(problem: Problem) -> int:
    """HV gates, or HV * K of them in the order of memory."""
    return problem.HV * (problem.K if problem.rule.gate == "vector" else 1)


def gates_of_program(problem: Problem, config: Config) -> int:
    """Gates of a token that one program takes."""
    return int(config["BH"]) * (CHANNELS if problem.rule.gate == "vector" else 1)
