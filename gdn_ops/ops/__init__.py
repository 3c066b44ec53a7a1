"""Functions with the signatures of flash-linear-attention; inputs are batch-first."""

from gdn_ops.ops import library as library
from gdn_ops.ops.delta_rule import chunk_delta_rule, chunk_gated_delta_product
from gdn_ops.ops.fused_recurrent import fused_recurrent_gated_delta_rule
from gdn_ops.ops.gated_delta_rule import chunk_gated_delta_rule
from gdn_ops.ops.gla import chunk_gla, fused_recurrent_gla
from gdn_ops.ops.kda import chunk_kda, fused_recurrent_kda
from gdn_ops.ops.retention import chunk_retention
from gdn_ops.ops.simple_gla import chunk_simple_gla, fused_recurrent_simple_gla

__all__ = [
    "chunk_delta_rule",
    "chunk_gated_delta_product",
    "chunk_gated_delta_rule",
    "chunk_gla",
    "chunk_kda",
    "chunk_retention",
    "chunk_simple_gla",
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_gla",
    "fused_recurrent_kda",
    "fused_recurrent_simple_gla",
]
