"""Functions with the signatures of vLLM and SGLang: decoding in place on a pool of states."""

from gdn_ops.serving import library as library
from gdn_ops.serving.packed_decode import fused_recurrent_gated_delta_rule_packed_decode
from gdn_ops.serving.recurrent import fused_recurrent_gated_delta_rule
from gdn_ops.serving.sigmoid_gating import fused_sigmoid_gating_delta_rule_update

__all__ = [
    "fused_recurrent_gated_delta_rule",
    "fused_recurrent_gated_delta_rule_packed_decode",
    "fused_sigmoid_gating_delta_rule_update",
]
