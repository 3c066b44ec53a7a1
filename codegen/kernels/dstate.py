"""Stage dstate: the gradient of the state after every chunk, walked from the last to the first."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.kernels.launch_axes import launch_axes
from gdn_ops.codegen.kernels.tiles import count, narrowed, register_reasons, tile, twin_reasons
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes

BK = Axis("BK", (32, 64, 128), 64, "key channels of a tile of the state")
BV = Axis("BV", (16, 32, 64, 128), 32, "value channels of one program")


def _context(problem: Problem, config: Config) -> Mapping[str, int]:
    width_k, width_v = tile(int(config["BK"]), problem.K), tile(int(config["BV"]), problem.V)
    return {
        "BK": width_k,
        "BV": width_v,
        "NK": count(problem.K, width_k),
        "NV": count(problem.V, width_v),
    }


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if problem.rule.gate == "scalar" else ()
    final = ("dht",) if problem.final_state else ()
    packed = ("cu_seqlens", "chunk_offsets") if problem.varlen else ()
    reads = ("w",) if problem.rule.delta else ()
    return ("q", "k", *reads, *gate, "do", "dv_local", *final, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    written = "dv_new" if problem.rule.delta else "dv"
    return (written, "dh", "dh0") if problem.initial_state else (written, "dh")


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    # one dimension, for the others hold 65535 programs and N * HV can be more
    return (count(problem.V, tile(int(config["BV"]), problem.V)) * sizes.N * problem.HV,)


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    tiles = _context(problem, config)
    rows, columns = tiles["NK"] * tiles["BK"], tiles["BV"]
    return [
        *twin_reasons(BK, config, problem.K),
        *twin_reasons(BV, config, problem.V),
        *register_reasons(f"a state of {rows} x {columns}", rows * columns, config, target),
    ]


def _adapted(problem: Problem) -> Mapping[str, Value]:
    """A pipeline's tiles of more than 128 key channels are over what many GPUs may share.

    Of fp32 products, which run on the vector units, wider tiles and a [K, V] state spill.
    """
    deep = {"num_stages": 1} if problem.K > 128 else {}
    if problem.dtype != "fp32":
        return deep
    return {"BV": narrowed(BV, 16, problem.V), "layout": "VK", "num_warps": 8, **deep}


SPEC = KernelSpec(
    name="dstate",
    doc="the gradients of the state after each chunk and of what each token writes.",
    equation="""
    dh = dS after the chunk
    dv_new = dv_local + exp(gl - gc) (k dS),  gl = gc of the chunk's last token
    dS <- exp(gl) dS + scale (exp(gc) q)^T do - w^T dv_new
    """,
    linear="""
    dh = dS after the chunk
    dv = dv_local + exp(gl - gc) (k dS),  gl = gc of the chunk's last token
    dS <- exp(gl) dS + scale (exp(gc) q)^T do
    """,
    shared=("BT", "store"),
    axes=(
        BK,
        BV,
        Axis("layout", ("KV", "VK"), "KV", "the state in registers as [K, V] or as [V, K]"),
        Axis("dot", ("ieee", "tf32", "tf32x3", "native"), "native", "precision of the products"),
        Axis("loads", ("pointer", "descriptor"), "pointer", "how the tiles of tokens are read"),
        *launch_axes(warps=(2, 4, 8), stages=(1, 2, 3, 4), default_stages=2),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T", "scale"),
    grid=_grid,
    context=_context,
    refusals=_refusals,
    adapted=_adapted,
)
