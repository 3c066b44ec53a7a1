"""GatedRMSNorm: RMS norm, multiplied by an activated gate."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput, UnknownName
from gdn_ops.layers.checks import check_channels, check_counts, check_eps

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "swish": F.silu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
}


class GatedRMSNorm(nn.Module):
    """Return x / sqrt(mean(x^2) + eps) * weight * activation(gate), computed in float32.

    Args:
        hidden_size: size of the last dim, over which the norm is taken.
        eps: added to the mean square.
        activation: ``swish`` (= ``silu``) or ``sigmoid``.
    """

    def __init__(self, hidden_size: int, *, eps: float = 1e-5, activation: str = "swish") -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UnknownName.of("output gate activation", activation, ACTIVATIONS)
        check_counts(hidden_size=hidden_size)
        check_eps(eps=eps)
        self.eps = eps
        self.activation = activation
        self.weight = nn.Parameter(torch.ones(hidden_size))

    def forward(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """Normalise ``x`` [..., D] and gate it by ``gate`` [..., D] if one is given.

        Raises:
            InvalidInput: x is not a floating-point tensor [..., D], or the gate's shape differs.
        """
        check_channels("x", x, self.weight.shape[0])
        if gate is not None and gate.shape != x.shape:
            raise InvalidInput(
                f"gate has shape {list(gate.shape)}; it must have x's, {list(x.shape)}."
            )
        wide = torch.promote_types(x.dtype, torch.float32)
        y = F.rms_norm(x.to(wide), self.weight.shape, self.weight.to(wide), self.eps)
        if gate is not None:
            y = y * ACTIVATIONS[self.activation](gate.to(wide))
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}, activation={self.activation}"
