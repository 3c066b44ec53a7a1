"""How stages that sum gates over tokens cut a token's gates into tiles."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem

BH = Axis("BH", (1, 4, 8, 16), 8, "value heads per program, with 8 channels each of a vector gate")
CHANNELS = 8
"""Channels of a vector gate per value head of ``BH``."""


def gates_of_token(problem: Problem) -> int:
    """Gates of one token: HV, or HV * K if the gate is a vector."""
    return problem.HV * (problem.K if problem.rule.gate == "vector" else 1)


def gates_of_program(problem: Problem, config: Config) -> int:
    """Gates of one token that one program handles."""
    return int(config["BH"]) * (CHANNELS if problem.rule.gate == "vector" else 1)
