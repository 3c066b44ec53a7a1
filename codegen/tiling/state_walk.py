"""What the stages share that walk a sequence's chunks with the state [K, V] in registers."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import count, narrowed, register_reasons, tile, twin_reasons

BK = Axis("BK", (32, 64, 128), 64, "key channels of a tile of the state")
BV = Axis("BV", (16, 32, 64, 128), 32, "value channels of one program")

EXP = Axis("exp", ("exp", "exp2"), "exp2", "decays as powers of e, or of 2 from scaled gates")


def state_tiles(problem: Problem, config: Config) -> dict[str, int]:
    """Widths and numbers of the tiles: NK of them in a program, NV programs of a head."""
    width_k, width_v = tile(int(config["BK"]), problem.K), tile(int(config["BV"]), problem.V)
    return {
        "BK": width_k,
        "BV": width_v,
        "NK": count(problem.K, width_k),
        "NV": count(problem.V, width_v),
    }


def state_grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    """A program a sequence, value head and slice of value channels."""
    # one dimension, for the others hold 65535 programs and N * HV can be more
    return (state_tiles(problem, config)["NV"] * sizes.N * problem.HV,)


def state_refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    """Widths that come to another's tiles, and states that fill the registers."""
    tiles = state_tiles(problem, config)
    rows, columns = tiles["NK"] * tiles["BK"], tiles["BV"]
    return [
        *twin_reasons(BK, config, problem.K),
        *twin_reasons(BV, config, problem.V),
        *register_reasons(f"a state of {rows} x {columns}", rows * columns, config, target),
    ]


def product_defaults(BV: Axis, problem: Problem) -> Mapping[str, Value]:
    """Defaults of walks, with their axis of value channels, that also multiply tiles of a chunk.

    Of fp32 products, which run on the vector units, wider tiles spill.
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
    """Refuse a choice about decays where there are none."""
    if problem.rule.gate != "none" or config["exp"] == EXP.default:
        return []
    return [f"exp={config['exp']} is the same as exp={EXP.default} without a gate"]
