"""What stages share that walk over a sequence's chunks with the state [K, V] in registers."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import EXP
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons, same_reasons
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import count, head_width_reasons, narrowed, tile

BK = Axis("BK", (32, 64, 128), 64, "key channels per tile of the state")
BV = Axis("BV", (16, 32, 64, 128), 32, "value channels per program")


def state_tiles(problem: Problem, config: Config) -> dict[str, int]:
    """The tiles' widths BK and BV, the NK tiles of a program, and the NV programs of a head."""
    width_k, width_v = tile(int(config["BK"]), problem.K), tile(int(config["BV"]), problem.V)
    return {
        "BK": width_k,
        "BV": width_v,
        "NK": count(problem.K, width_k),
        "NV": count(problem.V, width_v),
    }


def state_shape(problem: Problem, config: Config) -> tuple[int, int]:
    """Rows and columns of the state that one program holds."""
    tiles = state_tiles(problem, config)
    return tiles["NK"] * tiles["BK"], tiles["BV"]


def state_grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    """One program per sequence, value head and slice of value channels."""
    # in the first dimension: the others take 65535 programs and N * HV can be more
    return (state_tiles(problem, config)["NV"] * sizes.N * problem.HV,)


def state_refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    """Refuse widths that give the same tiles as others, and states that fill the registers."""
    rows, columns = state_shape(problem, config)
    return [
        *head_width_reasons(BK, BV, problem, config),
        *register_reasons(f"a state of {rows} x {columns}", rows * columns, config, target),
    ]


def product_defaults(BV: Axis, problem: Problem) -> Mapping[str, Value]:
    """Defaults of walks that also multiply tiles of a chunk; ``BV`` is their axis.

    Products of fp32 run on the vector units, where wider tiles spill.
    """
    if problem.dtype != "fp32":
        return {}
    return {
        "BK": narrowed(BK, 32, problem.K),
        "BV": narrowed(BV, 16, problem.V),
        "num_warps": 8,
        "num_stages": 1,
    }


def exp_reasons(problem: Problem, config: Config) -> list[str]:
    """Refuse a choice about decays for a problem without decays."""
    if problem.rule.gate != "none":
        return []
    return same_reasons("exp", config, EXP.default, "without a gate")
