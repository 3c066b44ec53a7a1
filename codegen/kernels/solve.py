"""Stage solve: the inverse of the unit lower triangular matrix of each chunk, A of the WY form."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config
from gdn_ops.codegen.kernels.launch_axes import launch_axes
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes

DEFAULT_BK = 64
DEFAULT_NC = 4


def _gated(problem: Problem, config: Config) -> bool:
    return problem.rule.gate == "scalar" and not config["gate_free"]


def _blocks(config: Config) -> tuple[int, int]:
    """Blocks a side and tokens of a block, which holds at least the 16 of a tensor core's tile."""
    BT = int(config["BT"])
    NC = min(int(config["NC"]), BT // 16)
    return NC, BT // NC


def _tile(problem: Problem, config: Config) -> int:
    """BK, no wider than the next power of two from K."""
    return min(int(config["BK"]), max(16, 1 << (problem.K - 1).bit_length()))


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    NC, BC = _blocks(config)
    return {
        "GATED": _gated(problem, config),
        "BK": _tile(problem, config),
        "NC": NC,
        "BC": BC,
        "PAIRS": [(i, j) for i in range(NC) for j in range(i + 1)],
        "WIDTHS": [b for b in (16, 32) if b < BC],
        "LEVELS": BC.bit_length() - 1,
    }


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    NC, BC = _blocks(config)
    reasons = _duplicates(problem, config) + _registers(config, target)
    way, merge_dot = config["solve"], config["merge_dot"]
    if merge_dot != "ieee" and target.vendor == "amd":
        reasons.append(
            f"merge_dot={merge_dot} needs NVIDIA tensor cores; {target.name} is AMD"
        )
    widest = BC if NC > 1 or way == "doubling" else 0
    if merge_dot == "ieee" and widest >= 64:
        reasons.append(
            f"merge_dot=ieee multiplies blocks of {widest} tokens on the vector units, which spills; "
            "use tf32x3 or more blocks"
        )
    if way != "rows" and BC == 128:
        reasons.append(f"solve={way} of one block of 128 tokens spills; use NC=2")
    return reasons


def _duplicates(problem: Problem, config: Config) -> list[str]:
    """Configs that render the source of another one."""
    NC, BC = _blocks(config)
    BK = _tile(problem, config)
    reasons = []
    if config["NC"] not in (NC, DEFAULT_NC):
        reasons.append(f"NC={config['NC']} is NC={NC} for BT={config['BT']}")
    if config["BK"] not in (BK, DEFAULT_BK):
        reasons.append(f"BK={config['BK']} is BK={BK} for K={problem.K}")
    if config["solve"] == "blocks" and BC == 16:
        reasons.append("solve=blocks is solve=rows for blocks of 16 tokens")
    if config["solve"] == "rows" and NC == 1 and config["merge_dot"] != "ieee":
        reasons.append("merge_dot changes nothing: solve=rows of one block merges none")
    if config["heads"] == "group" and problem.group == 1:
        reasons.append("heads=group is heads=one where every value head has its own key head")
    if config["dot"] == "tf32x3" and problem.dtype != "fp32":
        reasons.append(f"dot=tf32x3 is no better than tf32, which holds {problem.dtype} exactly")
    if int(config["num_stages"]) > 1 and BK >= problem.K:
        reasons.append("num_stages > 1 has no loop to pipeline: one tile holds all of K")
    return reasons


def _registers(config: Config, target: Target) -> list[str]:
    """Whether K K^T and the inverse of its diagonal blocks fit into the registers at all."""
    NC, BC = _blocks(config)
    threads = target.warp * int(config["num_warps"])
    held = (NC * (NC + 1) // 2 + NC) * BC * BC // threads
    if held <= target.registers_thread:
        return []
    return [
        f"{NC} x {NC} blocks of {BC} tokens need {held} registers a thread of "
        f"{target.registers_thread}; use more than num_warps={config['num_warps']}"
    ]


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if _gated(problem, config) else ()
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    return ("k", "beta", *gate, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("A",)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    heads = problem.H if config["heads"] == "group" else problem.HV
    return (sizes.NT, sizes.B * heads)


SPEC = KernelSpec(
    name="solve",
    doc="the inverse of each chunk's unit lower triangular matrix.",
    equation="""
    A = (I + L)^-1,  L_ij = beta_i (k_i . k_j) for i > j, else 0
    L_ij also times exp(gc_i - gc_j) where A is not gate-free
    """,
    shared=("BT", "store", "gate_free"),
    axes=(
        Axis("BK", (16, 32, 64, 128), DEFAULT_BK, "key channels of a tile"),
        Axis("NC", (1, 2, 4), DEFAULT_NC, "blocks a side of the chunk's matrix"),
        Axis("solve", ("rows", "blocks", "doubling"), "rows", "how a diagonal block is inverted"),
        Axis("merge_dot", ("ieee", "tf32", "tf32x3"), "ieee", "precision of the inverse's products"),
        Axis("dot", ("ieee", "tf32", "tf32x3", "native"), "native", "precision of K K^T"),
        Axis("loads", ("pointer", "descriptor"), "pointer", "how tiles of k come in"),
        Axis("heads", ("one", "group"), "one", "value heads of a program: one, or a key head's"),
        *launch_axes(warps=(1, 2, 4, 8), stages=(1, 2, 3)),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    grid=_grid,
    context=_context,
    refusals=_refusals,
)
