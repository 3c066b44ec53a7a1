"""Stage solve: the inverse of each chunk's unit lower triangular matrix, A of the WY form."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axes import DOT, LOADS, launch_axes, merge_dot
from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.reasons import no_loop_reasons, register_reasons, same_reasons
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.tiles import LEAST, count, narrowed, tile, width_reasons

BK = Axis("BK", (16, 32, 64, 128), 64, "key channels per tile")
NC = Axis("NC", (1, 2, 4), 4, "blocks per side of the chunk's matrix")
STAGES = 2


def _gated(problem: Problem, config: Config) -> bool:
    return problem.rule.gate == "scalar" and not config["gate_free"]


def _blocks(config: Config) -> tuple[int, int]:
    """Blocks per side, and tokens per block, which are at least what a matrix product takes."""
    BT = int(config["BT"])
    blocks = min(int(config["NC"]), BT // LEAST)
    return blocks, BT // blocks


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    blocks, BC = _blocks(config)
    return {
        "GATED": _gated(problem, config),
        "SUMS": False,
        "AHEAD": False,
        "BK": tile(int(config["BK"]), problem.K),
        "NC": blocks,
        "BC": BC,
        "PAIRS": [(i, j) for i in range(blocks) for j in range(i + 1)],
        "WIDTHS": [b for b in (16, 32) if b < BC],
        "LEVELS": BC.bit_length() - 1,
    }


def _refusals(problem: Problem, config: Config, target: Target) -> list[str]:
    blocks, BC = _blocks(config)
    way, merge_dot = config["solve"], config["merge_dot"]
    reasons = width_reasons(BK, config, problem.K)
    reasons += _same_reasons(problem, config, target)
    if merge_dot == "ieee" and BC == 64 and (blocks > 1 or way == "doubling"):
        reasons.append(
            "merge_dot=ieee multiplies blocks of 64 tokens on the vector units, whose operands do "
            "not fit into registers; use tf32x3 or smaller blocks"
        )
    if way != "rows" and BC == 128:
        reasons.append(
            f"solve={way} of one block of 128 tokens does not fit into registers; use NC=2"
        )
    held = (blocks * (blocks + 1) // 2 + blocks) * BC * BC
    what = f"the lower {blocks} x {blocks} blocks of {BC} tokens with their diagonal's inverses"
    return reasons + register_reasons(what, held, config, target)


def _same_reasons(problem: Problem, config: Config, target: Target) -> list[str]:
    """Refuse configs that give the same kernel as another one; a default is never refused."""
    blocks, BC = _blocks(config)
    reasons = _idle_reasons(problem, config, target) if problem.rule.gate == "vector" else []
    if config["NC"] != NC.default:
        reasons += same_reasons("NC", config, blocks, f"for chunks of {config['BT']} tokens")
    if config["solve"] == "blocks" and BC == LEAST:
        reasons += same_reasons("solve", config, "rows", f"for blocks of {LEAST} tokens")
    if config["solve"] == "rows" and blocks == 1:
        why = "because solve=rows of one block has no products"
        reasons += same_reasons("merge_dot", config, "ieee", why)
    if problem.group == 1:
        reasons += same_reasons("heads", config, "one", "if HV = H")
    if config["dot"] == "tf32x3" and problem.dtype != "fp32":
        why = f"because tf32 holds k in {problem.dtype} exactly"
        reasons += same_reasons("dot", config, "tf32", why)
    if count(problem.K, tile(int(config["BK"]), problem.K)) == 1:
        reasons += no_loop_reasons(config, STAGES, f"one tile holds K={problem.K}")
    return reasons


def _idle_reasons(problem: Problem, config: Config, target: Target) -> list[str]:
    """Refuse all but one value of the axes of K K^T: with a vector gate L is read instead."""
    usual = SPEC.default(problem)
    if usual["dot"] == "native" and config.get("store") == "fp32":
        # native is refused already, and so is one of the others on some targets
        usual["dot"] = "ieee" if target.vendor == "amd" else "tf32"
    reasons = []
    for name in ("BK", "dot", "loads", "heads", "num_stages"):
        reasons += same_reasons(name, config, usual[name], "because L is read, not computed")
    return reasons


def _inputs(problem: Problem, config: Config) -> tuple[str, ...]:
    gate = ("gc",) if _gated(problem, config) else ()
    packed = ("cu_seqlens", "chunk_indices") if problem.varlen else ()
    if problem.rule.gate == "vector":
        return ("L", *packed)
    return ("k", "beta", *gate, *packed)


def _outputs(problem: Problem, config: Config) -> tuple[str, ...]:
    return ("A",)


def _grid(problem: Problem, config: Config, sizes: Sizes) -> tuple[int, ...]:
    heads = problem.H if config["heads"] == "group" else problem.HV
    return (sizes.B * heads, sizes.NT)


def _problem_defaults(problem: Problem) -> Mapping[str, Value]:
    """Products of fp32 run on the vector units, where a wider tile spills on sm_100."""
    if problem.dtype != "fp32":
        return {}
    return {"BK": narrowed(BK, 32, problem.K), "num_warps": 4}


SPEC = KernelSpec(
    name="solve",
    template="triton/solve",
    doc="the inverse of each chunk's unit lower triangular matrix.",
    equation={
        "other": """
    A = (I + L)^-1,  L_ij = beta_i (k_i . k_j) for i > j, else 0
    L_ij is multiplied by exp(gc_i - gc_j) where A is not gate-free
    """,
        "vector": """
    A = (I + L)^-1
    """,
    },
    shared=("BT", "store", "gate_free"),
    axes=(
        BK,
        NC,
        Axis("solve", ("rows", "blocks", "doubling"), "rows", "how a diagonal block is inverted"),
        merge_dot(("ieee", "tf32", "tf32x3"), "ieee", "products inside the inverse"),
        DOT,
        LOADS,
        Axis(
            "heads", ("one", "group"), "one", "value heads per program: one or a key head's group"
        ),
        # a block of 16 tokens fills one warp: more repeat its work, but one warp spills on sm_80
        *launch_axes(warps=(1, 2, 4, 8), stages=(1, 2, 3), default_warps=2, default_stages=STAGES),
    ),
    inputs=_inputs,
    outputs=_outputs,
    scalars=("T",),
    grid=_grid,
    context=_context,
    refusals=_refusals,
    problem_defaults=_problem_defaults,
)
