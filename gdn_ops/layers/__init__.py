"""PyTorch layers that run on the tuned ops."""

from gdn_ops.layers.cache import DeltaNetCache, LayerState
from gdn_ops.layers.gated_deltanet import GatedDeltaNet
from gdn_ops.layers.gated_rms_norm import GatedRMSNorm
from gdn_ops.layers.short_convolution import ShortConvolution

__all__ = ["DeltaNetCache", "GatedDeltaNet", "GatedRMSNorm", "LayerState", "ShortConvolution"]
