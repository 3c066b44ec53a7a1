"""What stages share that walk over a sequence's tokens for its gradients."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import launch_axes
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import register_reasons
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import count, tile

WALK_AXES = (
    Axis("prefetch", (0, 1), 1, "tokens loaded ahead, in registers"),
    *launch_axes(warps=(1, 2, 4, 8, 16), stages=(1,), default_warps=4),
)


def walk_tiles(problem: Problem, config: Config) -> dict[str, int]:
    """BK, which holds all of K; BV, the value channels of a slice; and NV, the number of slices."""
    columns = tile(int(config["slice"]), problem.V, least=1)
    rows = tile(2 * problem.K, problem.K, least=1)
    return {"BK": rows, "BV": columns, "NV": count(problem.V, columns)}


def sliced(problem: Problem, config: Config) -> bool:
    """Whether dq and dk are written in parts, one per program, which another stage sums.

    This is so even for one program if there is neither gate nor delta, because the stage that
    sums would have nothing else to sum.
    """
    only_keys = problem.rule.gate == "none" and not problem.rule.delta
    return problem.group > 1 or walk_tiles(problem, config)["NV"] > 1 or only_keys


def walk_context(problem: Problem, config: Config) -> Mapping[str, object]:
    """The tiles, and whether dq and dk are written in parts."""
    return {**walk_tiles(problem, config), "SLICED": sliced(problem, config)}


def gate_inputs(problem: Problem) -> tuple[str, ...]:
    """The tensors of the gate, with A_log and dt_bias if it is raw, and beta."""
    raw = ("A_log", *("dt_bias",) * problem.dt_bias) if problem.gate_in_kernel else ()
    gate = ("g", *raw) if problem.rule.gate != "none" else ()
    return (*gate, *("beta",) * problem.rule.delta)


def walk_grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    """One program per sequence, value head and slice of value channels."""
    # in the first dimension: the others take 65535 programs and N * HV can be more
    return (walk_tiles(problem, config)["NV"] * sizes.N * problem.HV,)


def walk_refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    """Refuse states that fill the registers."""
    tiles = walk_tiles(problem, config)
    rows, columns = tiles["BK"], tiles["BV"]
    return register_reasons(f"a state of {rows} x {columns}", rows * columns, config, target)


def walk_defaults(problem: Problem) -> Mapping[str, Value]:
    """More warps for states of more rows; prefetching a token of fp32 spills on sm_100."""
    warps = {"num_warps": 8} if problem.K > 128 else {}
    return {**warps, "prefetch": 0} if problem.dtype == "fp32" else warps
