"""How stages that sum gates over tokens cut a token's gates into tiles."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import count

BH = Axis("BH", (1, 4, 8, 16), 8, "value heads per program, with 8 channels each of a vector gate")
CHANNELS = 8
"""Channels of a vector gate per value head of ``BH``."""


def gates_of_token(problem: Problem) -> int:
    """Gates of one token: HV, or HV * K if the gate is a vector."""
    return problem.HV * (problem.K if problem.rule.gate == "vector" else 1)


def gates_of_program(problem: Problem, config: Config) -> int:
    """Gates of one token that one program handles."""
    return int(config["BH"]) * (CHANNELS if problem.rule.gate == "vector" else 1)


def gates_context(problem: Problem, config: Config) -> Mapping[str, object]:
    """The constants of such a stage's template."""
    return {"BH": gates_of_program(problem, config)}


def gates_grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    """Programs of such a stage: sequences and tiles of a token's gates, chunks."""
    tiles = count(gates_of_token(problem), gates_of_program(problem, config))
    return (sizes.B * tiles, sizes.NT)
