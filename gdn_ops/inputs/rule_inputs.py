"""Random inputs of a problem, distributed like those of a model."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem
from gdn_ops.inputs.pools import STATE_SIZE, on_pool, without_pool
from gdn_ops.inputs.recipes import BETAS, GATES, Recipe, normal, unit_rows
from gdn_ops.launch.call import Call
from gdn_ops.launch.packing import Packing, packing_of
from gdn_ops.launch.torch_dtype import torch_dtype
from gdn_ops.reference import log_decay


@dataclass(frozen=True)
class Layout:
    """The number of tokens of each sequence, and of unused tokens behind packed sequences."""

    lengths: tuple[int, ...]
    tail: int = 0

    @classmethod
    def of(cls, problem: Problem, *, seed: int = 0) -> Layout:
        """The layout of a problem; packed sequences get random lengths, the same for a seed."""
        N = problem.sequences
        if not problem.varlen or problem.verify:  # all sequences have equally many drafts
            return cls((max(1, problem.tokens // N),) * N)
        if problem.tokens < N:
            raise InvalidInput(
                f"{problem.tokens} tokens for {N} packed sequences; give at least one per sequence."
            )
        generator = torch.Generator().manual_seed(seed)
        cuts = torch.randperm(problem.tokens - 1, generator=generator)[: N - 1] + 1
        edges = [0, *sorted(cuts.tolist()), problem.tokens]
        return cls(tuple(b - a for a, b in pairwise(edges)))


def random_call(
    problem: Problem,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
    layout: Layout | None = None,
    recipe: Recipe | None = None,
) -> Call:
    """Make the tensors of one call; they are the same for the same seed and kind of device.

    q and k are unit vectors, v is normal, and beta is a sigmoid (None without the delta rule). Log
    decays are -exp(A_log) softplus(a + dt_bias) with rates exp(A_log) in 0..16, as Mamba-2 (arXiv
    2405.21060) and the layers of the gated delta rule initialize them. With a vector gate each key
    channel has its own a and dt_bias, as in KDA (arXiv 2510.26692). Gradients of outputs are
    normal.

    Args:
        problem: gives heads, head dims, dtype, flags and, without ``layout``, the sizes.
        layout: lengths of the sequences; they must be equal unless the sequences are packed.
        recipe: distributions that replace the ones above.

    Raises:
        InvalidInput: the layout does not fit the problem.
    """
    layout, recipe = layout or Layout.of(problem, seed=seed), recipe or Recipe()
    B, T = _row(problem, layout)
    generator = torch.Generator(device=device).manual_seed(seed)
    if problem.op == "pool":
        tokens = random_call(
            without_pool(problem), device=device, seed=seed, layout=layout, recipe=recipe
        )
        return on_pool(problem, tokens, generator, skipped=recipe.skipped)
    g, A_log, dt_bias = _gate(problem, generator, (B, T), recipe.gate)
    io = torch_dtype(DTYPES[problem.dtype])
    state = (len(layout.lengths), problem.HV, problem.K, problem.V)
    backward = problem.op == "backward"
    return Call(
        q=unit_rows(generator, B, T, problem.H, problem.K).to(io),
        k=unit_rows(generator, B, T, problem.H, problem.K, cosine=recipe.cosine).to(io),
        v=normal(generator, B, T, problem.HV, problem.V).to(io),
        g=g,
        beta=BETAS[recipe.beta](generator, B, T, problem.HV) if problem.rule.delta else None,
        scale=problem.K**-0.5,
        A_log=A_log,
        dt_bias=dt_bias,
        h0=normal(generator, *state) * STATE_SIZE if problem.initial_state else None,
        packing=_packing(layout, T, generator.device) if problem.varlen else None,
        do=normal(generator, B, T, problem.HV, problem.V).to(io) if backward else None,
        dht=normal(generator, *state) if backward and problem.final_state else None,
    )


def _row(problem: Problem, layout: Layout) -> tuple[int, int]:
    """B and T of the call's tensors."""
    lengths = layout.lengths
    if problem.varlen:
        return 1, sum(lengths) + layout.tail
    if len(set(lengths)) != 1 or layout.tail:
        raise InvalidInput(
            f"sequences of {lengths} tokens with {layout.tail} unused tokens are not a batch; give "
            "equal lengths without unused tokens, or make the problem varlen."
        )
    return len(lengths), lengths[0]


def _gate(
    problem: Problem, generator: torch.Generator, row: tuple[int, int], name: str
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """g, A_log and dt_bias in the form that the problem takes."""
    if problem.rule.gate == "none":
        return None, None, None
    channels = (problem.K,) if problem.rule.gate == "vector" else ()
    gate = GATES[name](generator, *row, problem.HV, *channels)
    A_log = gate.A.log()  # -inf for a head that never decays
    if not problem.gate_in_kernel:
        return log_decay(gate.a, A_log, gate.dt_bias), None, None
    if problem.dt_bias:
        return gate.a, A_log, gate.dt_bias
    return gate.a + gate.dt_bias, A_log, None


def _packing(layout: Layout, tokens: int, device: torch.device) -> Packing:
    offsets = list(accumulate(layout.lengths, initial=0))
    return packing_of(torch.tensor(offsets, dtype=torch.int32, device=device), tokens, offsets)
