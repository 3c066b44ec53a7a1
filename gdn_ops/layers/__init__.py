"""PyTorch layers that run on the tuned ops."""

from gdn_ops.layers.cache import DeltaNetCache, LayerState, WindowState
from gdn_ops.layers.delta_net import DeltaNet
from gdn_ops.layers.gated_deltanet import GatedDeltaNet
from gdn_ops.layers.gated_linear_attention import GatedLinearAttention
from gdn_ops.layers.gated_rms_norm import GatedRMSNorm
from gdn_ops.layers.mamba2 import Mamba2
from gdn_ops.layers.short_convolution import ShortConvolution
from gdn_ops.layers.sliding_window_attention import SlidingWindowAttention
from gdn_ops.layers.swiglu import SwiGLU

__all__ = [
    "DeltaNet",
    "DeltaNetCache",
    "GatedDeltaNet",
    "GatedLinearAttention",
    "GatedRMSNorm",
    "LayerState",
    "Mamba2",
    "ShortConvolution",
    "SlidingWindowAttention",
    "SwiGLU",
    "WindowState",
]
