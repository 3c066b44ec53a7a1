"""Interface axes that plans on chunks have in common."""

from __future__ import annotations

from gdn_ops.codegen.axis import Axis

BT = Axis("BT", (16, 32, 64, 128), 64, "tokens in a chunk")
STORE = Axis("store", ("io", "fp32"), "io", "element type of what stages exchange")


def gate_free(usual: bool) -> Axis:
    """Whether stages exchange A without the decay in it; ``usual`` is the default."""
    return Axis("gate_free", (True, False), usual, "A without the decay in it")
