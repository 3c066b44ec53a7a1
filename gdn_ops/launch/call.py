"""Call: the tensors of one call of a rule, as every launcher takes them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.launch.packing import Packing


@dataclass(slots=True)
class Call:
    """The tensors of one call, already checked.

    Args:
        q, k: [B, T, H, K]; v: [B, T, HV, V], all of one dtype.
        g: [B, T, HV] log decay, or the raw gate when ``A_log`` is given; [B, T, HV, K] of a vector
            gate; None without one.
        beta: [B, T, HV] writing strength, any float dtype; None without the delta.
        scale: factor on the outputs, usually K^-0.5.
        A_log, dt_bias: [HV], of a raw gate; dt_bias [HV, K] of a vector gate.
        h0: [N, HV, K, V] initial state or None.
        packing: where the sequences begin when they are packed in one row, else None.
        do: [B, T, HV, V] of q's dtype, the gradient of the outputs, in a backward call.
        dht: [N, HV, K, V] fp32, the gradient of the final state, where there is one.
    """

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    g: torch.Tensor | None
    beta: torch.Tensor | None
    scale: float
    A_log: torch.Tensor | None = None
    dt_bias: torch.Tensor | None = None
    h0: torch.Tensor | None = None
    packing: Packing | None = None
    do: torch.Tensor | None = None
    dht: torch.Tensor | None = None


TOKEN_INPUTS = ("q", "k", "v", "g", "beta")
"""Inputs of a call with a value for each token."""

DIFFERENTIABLE = (*TOKEN_INPUTS, "A_log", "dt_bias", "h0")
"""The inputs of a call that have a gradient, named ``d`` and the input's name."""


def check_decay(call: Call) -> None:
    """Refuse a log decay above 0 of a call on the CPU; NaN passes, and so does a single token.

    The ``torch`` plan clamps exponents that only a positive one would make positive. Reading g back
    from a GPU would cost more than it is worth.

    Raises:
        InvalidInput: names the decay.
    """
    g, T = call.g, call.q.shape[1]
    if g is None or call.A_log is not None or T == 1 or g.device.type != "cpu":
        return
    used = g.detach()[:, : T if call.packing is None else call.packing.offsets[-1]]
    if used.numel() and (top := used.amax()) > 0:
        raise InvalidInput(
            f"g has the log decay {top.item():.3g}; it must be 0 at most. Give log(decay), or a "
            "raw gate with use_gate_in_kernel=True."
        )
