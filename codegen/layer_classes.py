"""Classes of layers of several libraries, by name: which recurrence they call, and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdn_ops.codegen.dtype import IO_DTYPES
from gdn_ops.codegen.errors import UnknownName
from gdn_ops.codegen.mixer import Mixer
from gdn_ops.codegen.rule import Rule


@dataclass(frozen=True, kw_only=True)
class LayerClass:
    """What a class of layers calls, known by the name of the class.

    Args:
        rule: the recurrence.
        heads: the attributes of a layer that hold H and HV.
        dims: the attributes that hold K and V.
        raw_gate: whether the layer hands over its gate raw, with A_log and dt_bias.
        bounds: attributes that may give the gate a lower bound; it is then activated before the
            kernels run.
        gate, beta: element types of g and beta; "" stands for that of the weights.
        dtype: the same for q, k and v.
    """

    rule: Rule = field(default_factory=Rule)
    heads: tuple[str, str] = ("num_heads", "num_heads")
    dims: tuple[str, str] = ("head_k_dim", "head_v_dim")
    raw_gate: bool = False
    bounds: tuple[str, ...] = ()
    gate: str = "fp32"
    beta: str = ""
    dtype: str = ""

    def mixer(
        self,
        *,
        H: int,
        HV: int,
        K: int,
        V: int,
        dtype: str,
        bounded: bool = False,
        state_dtype: str = "",
    ) -> Mixer:
        """The mixer of a layer of this class.

        Args:
            H, HV, K, V: its heads and head dims.
            dtype: the element type of its weights.
            bounded: whether its gate has a lower bound.
            state_dtype: the element type of a pool of its states; "" stands for ``dtype``.

        Raises:
            UnknownName: no kernel computes in the dtype.
        """
        if dtype not in IO_DTYPES:
            raise UnknownName.of("dtype", dtype, IO_DTYPES)
        gate = "fp32" if bounded else self.gate or dtype
        return Mixer(
            H=H, HV=HV, K=K, V=V, dtype=self.dtype or dtype, rule=self.rule,
            raw_gate=self.raw_gate and not bounded, gate_dtype=gate,
            beta_dtype=self.beta or dtype, state_dtype=state_dtype or self.dtype or dtype,
        )  # fmt: skip


_OF_TRANSFORMERS = LayerClass(heads=("num_k_heads", "num_v_heads"))
_KDA_OF_TRANSFORMERS = LayerClass(rule=Rule("vector"), dims=("head_dim", "head_dim"))

LAYER_CLASSES: dict[str, LayerClass] = {
    # gdn_ops and flash-linear-attention
    "GatedDeltaNet": LayerClass(
        heads=("num_heads", "num_v_heads"), raw_gate=True, gate="", beta="fp32"
    ),
    "DeltaNet": LayerClass(rule=Rule("none")),
    # gdn_ops: it computes the recurrence in fp32
    "Mamba2": LayerClass(
        rule=Rule("scalar", False), heads=("n_groups", "num_heads"),
        dims=("state_size", "head_dim"), dtype="fp32",
    ),
    # flash-linear-attention
    "KimiDeltaAttention": LayerClass(
        rule=Rule("vector"), heads=("num_heads", "num_v_heads"), raw_gate=True,
        bounds=("safe_gate", "lower_bound"), gate="", beta="fp32",
    ),
    "GatedLinearAttention": LayerClass(rule=Rule("vector", False), gate=""),
    "SimpleGatedLinearAttention": LayerClass(rule=Rule("scalar", False), gate=""),
    "MultiScaleRetention": LayerClass(rule=Rule("scalar", False)),
    # transformers
    "Qwen3NextGatedDeltaNet": _OF_TRANSFORMERS,
    "Qwen3_5GatedDeltaNet": _OF_TRANSFORMERS,
    "Qwen3_5MoeGatedDeltaNet": _OF_TRANSFORMERS,
    "Qwen4ExpTextGatedDeltaNet": _OF_TRANSFORMERS,
    "OlmoHybridGatedDeltaNet": _OF_TRANSFORMERS,
    "KimiLinearDeltaAttention": _KDA_OF_TRANSFORMERS,
    "BailingHybridDeltaAttention": _KDA_OF_TRANSFORMERS,
    "Glm5NextTextLinearAttention": _KDA_OF_TRANSFORMERS,
}  # fmt: skip
"""Classes of layers by name. No class is imported: their libraries need not be installed."""
