"""Stage solve: the inverse of each chunk's unit lower triangular matrix, A of the WY form."""

from __future__ import annotations

from collections.abc import Mapping

from gdn_ops.codegen.axis import Axis, Config, Value
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.spec import KernelSpec
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.tensor import Sizes
from gdn_ops.codegen.tiling.launch_axes import launch_axes
from gdn_ops.codegen.tiling.tiles import LEAST, count, narrowed, tile, twin_reasons

BK = Axis("BK", (16, 32, 64, 128), 64, "key channels of a tile")
NC = Axis("NC", (1, 2, 4), 4, "blocks a side of the chunk's matrix")
STAGES = 2


def _gated(problem: Problem, config: Config) -> bool:
    return problem.rule.gate == "scalar" and not config["gate_free"]


def _blocks(config: Config) -> tuple[int, int]:
    """Blocks a side, and tokens of a block: no fewer than a matrix product takes."""
    BT = int(config["BT"])
    blocks = min(int(config["NC"]), BT // LEAST)
    return blocks, BT // blocks


def _context(problem: Problem, config: Config) -> Mapping[str, object]:
    blocks, BC = _blocks(config)
    return {
        "GATED": _gated(problem, config),
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
    reasons = twin_reasons(BK, config, problem.K) + _twins(problem, config, target)
    if merge_dot != "ieee" and target.vendor == "amd":
        reasons.append(f"merge_dot={merge_dot} needs NVIDIA tensor cores; {target.name} is AMD")
    if merge_dot == "ieee" and BC == 64 and (blocks > 1 or way == "doubling"):
        reasons.append(
            "merge_dot=ieee multiplies blocks of 64 tokens on the vector units, whose operands do "
            "not fit the registers; use tf32x3 or smaller blocks"
        )
    if way != "rows" and BC == 128:
        reasons.append(
            f"solve={way} of one block of 128 tokens does not fit the registers; use NC=2"
        )
    return reasons + _register_reasons(config, target)


def _twins(problem: Problem, config: Config, target: Target) -> list[str]:
    """Refuse what renders or compiles to the same as another config; a default is never refused."""
    blocks, BC = _blocks(config)
    reasons = _idle_reasons(problem, config, target) if problem.rule.gate == "vector" else []
    if config["NC"] not in (blocks, NC.default):
        reasons.append(f"NC={config['NC']} is the same as NC={blocks} in chunks of {config['BT']}")
    if config["solve"] == "blocks" and BC == LEAST:
        reasons.append("solve=blocks is the same as solve=rows in blocks of 16 tokens")
    if config["solve"] == "rows" and blocks == 1 and config["merge_dot"] != "ieee":
        reasons.append("solve=rows of one block merges nothing: merge_dot does not matter")
    if config["heads"] == "group" and problem.group == 1:
        reasons.append("heads=group is the same as heads=one where HV = H")
    if config["dot"] == "tf32x3" and problem.dtype != "fp32":
        reasons.append(f"dot=tf32x3 is no better than tf32, which holds k in {problem.dtype}")
    tiles = count(problem.K, tile(int(config["BK"]), problem.K))
    if tiles == 1 and config["num_stages"] != STAGES:
        reasons.append(
            f"num_stages={config['num_stages']} is the same as num_stages={STAGES}: "
            f"BK={config['BK']} takes K={problem.K} in one tile and leaves no loop to pipeline"
        )
    return reasons


def _idle_reasons(problem: Problem, config: Config, target: Target) -> list[str]:
    """Refuse all but one value of the axes of K K^T, which a vector gate's L is read instead of."""
    usual = SPEC.default(problem)
    if usual["dot"] == "native" and config.get("store") == "fp32":
        # native and, on some targets, one of the others are refused already
        usual["dot"] = "ieee" if target.vendor == "amd" else "tf32"
    return [
        f"{name}={config[name]} is the same as {name}={usual[name]} where L is read"
        for name in ("BK", "dot", "loads", "heads", "num_stages")
        if config[name] != usual[name]
    ]


def _register_reasons(config: Config, target: Target) -> list[str]:
    """Whether the lower blocks and the inverses of the diagonal ones fit the registers at all."""
    blocks, BC = _blocks(config)
    held = (blocks * (blocks + 1) // 2 + blocks) * BC * BC
    registers = held // (target.warp * int(config["num_warps"]))
    if not 0 < target.registers_thread < registers:
        return []
    return [
        f"{blocks} x {blocks} blocks of {BC} tokens take {registers} registers a thread of the "
        f"{target.registers_thread} there are; use more than num_warps={config['num_warps']}"
    ]


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
    """Of fp32 products, which run on the vector units, a wider tile spills on sm_100."""
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
        Axis("merge_dot", ("ieee", "tf32", "tf32x3"), "ieee", "precision inside the inverse"),
        Axis("dot", ("ieee", "tf32", "tf32x3", "native"), "native", "precision of K K^T"),
        Axis("loads", ("pointer", "descriptor"), "pointer", "how tiles of k are read"),
        Axis("heads", ("one", "group"), "one", "value heads of a program: one, or a key head's"),
        # a block of 16 tokens fills one warp: others repeat its work, and one alone spills on sm_80
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
