"""Stage bwd_walks_sm90: the states and their gradients, for Hopper, by two walks in one launch."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels.scan_sm90 import BV, WALK_AXES, slices, tile_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes

WALKS = 2
"""From the first chunk to the last, and back."""


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    initial = ("h0",) if problem.initial_state else ()
    final = ("dht",) if problem.final_state else ()
    packed = ("cu_seqlens", "chunk_offsets") if problem.varlen else ()
    return ("q", "k", "v", "beta", "A", *gate, *initial, "do", *final, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("h", "dh", "dh0") if problem.initial_state else ("h", "dh")


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    return (WALKS * (problem.V // BV) * sizes.N * problem.HV,)


def _blocks(problem: Problem, config: Config) -> Mapping[str, tuple[int, int]]:
    BT = int(config["BT"])
    rows, state = (BT, BV), (problem.K, BV)
    keys = (BT, problem.K)
    return {"q": keys, "k": keys, "v": rows, "A": (BT, BT), "do": rows, "h": state, "dh": state}


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    return tile_reasons(SPEC.name, problem)


SPEC = KernelSpec(
    name="bwd_walks_sm90",
    template="gluon/bwd_walks_sm90",
    doc="the state before each chunk, and the gradient of the state after it.",
    equation="""
    h = S before the chunk, S and dS of [V, K],  gl = gc of the chunk's last token
    n = (beta (v^T - exp(gc) (S k^T))) A^T
    S <- exp(gl) S + (exp(gl - gc) n) k
    dh = dS after the chunk,  P = scale tril(q k^T) . G,  G_ij = exp(gc_i - gc_j)
    dx = (do^T P + exp(gl - gc) (dS k^T)) A
    dS <- exp(gl) dS + (scale exp(gc) do^T) q - (beta exp(gc) dx) k
    """,
    shared=("BT", "store"),
    axes=WALK_AXES,
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    context=slices,
    refusals=_refusals,
    archs=("sm_90",),
    program_kinds=WALKS,
    blocks=_blocks,
)
