"""Arguments that several libraries take in the same form."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gdn_ops.launch.call import TOKEN_INPUTS, Call
from gdn_ops.launch.capture import refuse_capture
from gdn_ops.reference import log_decay


def tokens_of(call: Call) -> dict[str, Tensor]:
    """q, k, v, g and beta, and do of a backward: contiguous, without tokens of no sequence."""
    end = call.q.shape[1] if call.packing is None else call.packing.offsets[-1]
    given = {name: getattr(call, name) for name in (*TOKEN_INPUTS, "do")}
    return {name: x[:, :end].contiguous() for name, x in given.items() if x is not None}


def decay_of(call: Call, g: Tensor) -> Tensor:
    """The log decay in fp32; computed first if the gate is raw, for libraries that do not."""
    if call.A_log is None:
        return g.float()
    bias = None if call.dt_bias is None else call.dt_bias.float()
    return log_decay(g.float(), call.A_log.float(), bias)


def decay_gradients(call: Call, g: Tensor, dg: Tensor) -> dict[str, Tensor]:
    """The gradients of the gate's inputs, given that of the log decay."""
    if call.A_log is None:
        return {"dg": dg}
    given = {"dg": g, "dA_log": call.A_log, "ddt_bias": call.dt_bias}
    with torch.enable_grad():
        leaves = {n: x.detach().float().requires_grad_() for n, x in given.items() if x is not None}
        decay = log_decay(*leaves.values())
    return dict(zip(leaves, torch.autograd.grad(decay, list(leaves.values()), dg), strict=True))


def cu_seqlens_of(call: Call) -> Tensor | None:
    """The offsets of packed sequences, as ``offsets_tensor`` gives them; None for a batch."""
    packing = call.packing
    return None if packing is None else offsets_tensor(packing.offsets, call.q.device)


@lru_cache(maxsize=64)
def offsets_tensor(offsets: tuple[int, ...], device: torch.device) -> Tensor:
    """Offsets on a device [N + 1] int64, always the same tensor for the same offsets.

    Libraries know their tables of packed sequences by this tensor. They read a new one back from
    the GPU, which no CUDA graph can capture.
    """
    refuse_capture(device, "a library's table of packed sequences")
    with torch.inference_mode(False):
        return torch.tensor(offsets, dtype=torch.int64, device=device)


def results(o: Tensor, ht: Tensor | None) -> dict[str, Tensor]:
    """Outputs by name."""
    return {"o": o} if ht is None else {"o": o, "ht": ht}


def gradients(names: tuple[str, ...], found: Any) -> dict[str, Tensor]:
    """The gradients that a library returned in this order, by name."""
    return {name: x for name, x in zip(names, found, strict=True) if x is not None}
