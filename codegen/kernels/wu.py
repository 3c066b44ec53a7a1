"""Stage wu: A times the weighted keys and values of each chunk, w and u of the WY form."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.kernels.launch_axes import launch_axes
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes

DEFAULT_TILE = 64


def _tile(block: object, dim: int) -> int:
    """A tile's channels, no more than the next power of two from the head dim."""
    return min(int(str(block)), max(16, 1 << (dim - 1).bit_length()))


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    return {
        "GATED": problem.rule.gate == "scalar" and not config["gate_free"],
        "BK": _tile(config["BK"], problem.K),
        "BV": _tile(config["BV"], problem.V),
    }


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    reasons = []
    tiles = {}
    for axis, name, dim in (("BK", "K", problem.K), ("BV", "V", problem.V)):
        tiles[axis] = _tile(config[axis], dim)
        if config[axis] not in (tiles[axis], DEFAULT_TILE):
            reasons.append(f"{axis}={config[axis]} is {axis}={tiles[axis]} for {name}={dim}")
    return reasons


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    return ("k", "v", "beta", "A", *gate, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("w", "u")


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (sizes.NT, sizes.B * problem.HV)


SPEC = KernelSpec(
    name="wu",
    doc="what the state is multiplied with (w) and what is added to it (u), a row a token.",
    equation="""
    w = A (beta exp(gc) k),  u = A (beta v)
    """,
    shared=("BT", "store", "gate_free"),
    axes=(
        Axis("BK", (32, 64, 128), DEFAULT_TILE, "key channels of a tile"),
        Axis("BV", (32, 64, 128), DEFAULT_TILE, "value channels of a tile"),
        Axis("dot", ("ieee", "tf32", "tf32x3", "native"), "native", "precision of A k and A v"),
        Axis("loads", ("pointer", "descriptor"), "pointer", "how tiles of k, v and A come in"),
        *launch_axes(warps=(2, 4, 8), stages=(1, 2, 3)),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    grid=_grid,
    context=_context,
    refusals=_refusals,
)
