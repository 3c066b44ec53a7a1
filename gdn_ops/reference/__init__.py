"""The rule in plain PyTorch, which kernels are checked against; differentiable, in any dtype."""

from gdn_ops.reference.activations import (
    bounded_log_decay,
    l2norm,
    log_decay,
    write_strength,
)
from gdn_ops.reference.chunkwise import chunkwise_reference
from gdn_ops.reference.gated_delta_rule import gated_delta_rule_reference
from gdn_ops.reference.recurrent import recurrent_reference

__all__ = [
    "bounded_log_decay",
    "chunkwise_reference",
    "gated_delta_rule_reference",
    "l2norm",
    "log_decay",
    "recurrent_reference",
    "write_strength",
]
