"""Tiles: how wide a tile of a head is, and which widths come to the same."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target

LEAST = 16
"""The narrowest operand of a matrix product."""


def tile(width: int, dim: int, *, least: int = LEAST) -> int:
    """Cut a tile's width down to the power of two that holds a head of ``dim`` channels."""
    return min(width, max(least, 1 << (dim - 1).bit_length()))


def count(dim: int, width: int) -> int:
    """Tiles of a width in a head of ``dim`` channels, the last one maybe ragged."""
    return -(-dim // width)


def narrow_fp32(BK: Axis, BV: Axis, problem: Problem) -> dict[str, Value]:
    """Defaults of fp32 products, which run on the vector units, where wider tiles spill."""
    if problem.dtype != "fp32":
        return {}
    return {
        "BK": narrowed(BK, 32, problem.K),
        "BV": narrowed(BV, 32, problem.V),
        "num_warps": 8,
    }


def twin_reasons(axis: Axis, config: Config, dim: int, *, least: int = LEAST) -> list[str]:
    """Refuse a width that is cut down to the same tile as another value of its axis.

    Of such twins the default stays, or else the smallest, so that a default is never refused.
    """
    value = config[axis.name]
    width = tile(int(value), dim, least=least)
    twins = [other for other in axis.values if tile(int(other), dim, least=least) == width]
    kept = axis.default if axis.default in twins else twins[0]
    if value == kept:
        return []
    return [f"{axis.name}={value} is the same as {axis.name}={kept} in a head of {dim} channels"]


def narrowed(axis: Axis, width: int, dim: int, *, least: int = LEAST) -> int:
    """A default width other than the axis' own, where ``dim`` channels tell them apart."""
    usual = int(axis.default)
    same = tile(width, dim, least=least) == tile(usual, dim, least=least)
    return usual if same else width


def register_reasons(what: str, values: int, config: Config, target: Target) -> list[str]:
    """Refuse fp32 values that alone fill the registers of their threads, and so must spill."""
    warps = int(config["num_warps"])
    registers = values // (warps * target.warp)
    if registers < target.registers_thread:
        return []
    return [
        f"{what} takes {registers} registers a thread in {warps} warps, "
        f"and {target.name} has {target.registers_thread}"
    ]
