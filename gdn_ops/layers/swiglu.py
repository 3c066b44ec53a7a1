"""SwiGLU: the gated MLP of arXiv 2002.05202."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gdn_ops.layers.checks import check_counts


class SwiGLU(nn.Module):
    """Return down(silu(gate(x)) * up(x)), without biases.

    Args:
        hidden_size: size of the input and output.
        intermediate_size: width of the hidden layer.
    """

    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        check_counts(hidden_size=hidden_size, intermediate_size=intermediate_size)
        self.gate_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.up_proj = nn.Linear(hidden_size, intermediate_size, bias=False)
        self.down_proj = nn.Linear(intermediate_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., hidden_size] to the same."""
        y: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return y
