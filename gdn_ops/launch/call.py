"""Call: the tensors of one call of a rule, in the form that every launcher takes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gdn_ops.errors import InvalidInput
from gdn_ops.launch.packing import Packing


@dataclass(slots=True)
class Call:
    """The tensors of one call, already checked.

    Args:
        q, k: [B, T, H, K].
        v: [B, T, HV, V]; q, k and v have one dtype.
        g: [B, T, HV] log decay, or [B, T, HV, K] for a vector gate; the raw gate if ``A_log`` is
            given; None: no gate.
        beta: [B, T, HV] writing strength, any float dtype; None without the delta rule.
        scale: factor on the outputs, usually K^-0.5.
        A_log: [HV], for a raw gate; else None.
        dt_bias: [HV], or [HV, K] for a vector gate, for a raw gate; or None.
        h0: [N, HV, K, V] initial state; None: zeros.
        packing: the offsets of packed sequences; None for a batch.
        do: [B, T, HV, V] in q's dtype, the gradient of the outputs; only for a backward.
        dht: [N, HV, K, V] fp32, the gradient of the final state; only for a backward, or None.
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
    """Refuse log decays above 0 in a call on the CPU with more than one token. NaN passes.

    The ``torch`` plan clamps exponents at 0, so a positive log decay would give wrong results. On
    a GPU nothing is checked, because reading g back would take too long.

    Raises:
        InvalidInput: a log decay is above 0.
    """
    g, T = call.g, call.q.shape[1]
    if g is None or call.A_log is not None or T == 1 or g.device.type != "cpu":
        return
    used = g.detach()[:, : T if call.packing is None else call.packing.offsets[-1]]
    if used.numel() and (top := used.amax()) > 0:
        raise InvalidInput(
            f"g has the log decay {top.item():.3g}; it must be <= 0. Give log(decay), or a raw "
            "gate with use_gate_in_kernel=True."
        )
