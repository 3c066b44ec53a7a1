"""Tiles: how wide a tile of a head is, and which widths give the same tile."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import same_reasons

LEAST = 16
"""The narrowest operand of a matrix product."""


def tile(width: int, dim: int, *, least: int = LEAST) -> int:
    """Reduce a tile's width to the power of two that holds a head of ``dim`` channels."""
    return min(width, max(least, 1 << (dim - 1).bit_length()))


def count(dim: int, width: int) -> int:
    """The number of tiles of a width in a head of ``dim`` channels; the last may be partial."""
    return -(-dim // width)


def narrowed(axis: Axis, width: int, dim: int, *, least: int = LEAST) -> int:
    """A default width other than the axis' own, unless both give the same tile of ``dim``."""
    usual = int(axis.default)
    same = tile(width, dim, least=least) == tile(usual, dim, least=least)
    return usual if same else width


def narrow_fp32(BK: Axis, BV: Axis, problem: Problem) -> dict[str, Value]:
    """Defaults for fp32 products, which run on the vector units, where wider tiles spill."""
    if problem.dtype != "fp32":
        return {}
    return {
        "BK": narrowed(BK, 32, problem.K),
        "BV": narrowed(BV, 32, problem.V),
        "num_warps": 8,
    }


def width_reasons(axis: Axis, config: Config, dim: int, *, least: int = LEAST) -> list[str]:
    """Refuse a width that is reduced to the same tile as another value of its axis.

    Of the values that give one tile the default is kept, or else the smallest, so that a default
    is never refused.
    """
    width = tile(int(config[axis.name]), dim, least=least)
    same = [value for value in axis.values if tile(int(value), dim, least=least) == width]
    kept = axis.default if axis.default in same else same[0]
    return same_reasons(axis.name, config, kept, f"for a head of {dim} channels")


def head_width_reasons(BK: Axis, BV: Axis, problem: Problem, config: Config) -> list[str]:
    """``width_reasons`` of the key and value channels."""
    return [*width_reasons(BK, config, problem.K), *width_reasons(BV, config, problem.V)]
