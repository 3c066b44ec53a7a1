"""Running the gated delta rule of vLLM on gdn_ops: prefill, packed decode and verification.

vLLM calls ``plug_in`` in each of its processes, through the entry point ``gdn_ops`` in the group
``vllm.general_plugins``. It replaces functions only where ``GDN_OPS_VLLM=1`` is set, or where a
results database has measured winners for the GPU.

vLLM keeps its states as [slots, HV, V, K] and uses slot 0 for padding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from gdn_ops import serving
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.integrations.engine import Engine, switch_on
from gdn_ops.integrations.engine_signatures import CUSTOM_OP, OLMO, QWEN
from gdn_ops.ops import chunk_gated_delta_rule

VARIABLE = "GDN_OPS_VLLM"
PREFILL = "ChunkGatedDeltaRule"

# vLLM shows the messages of loggers below its own only.
_ENGINE = Engine("vLLM", "vllm", VARIABLE, logging.getLogger("vllm.gdn_ops"))


def plug_in() -> None:
    """Replace vLLM's functions for the gated delta rule in this process, if switched on.

    A second call does nothing. One line of the log says what was replaced, and what was left in
    place and why. Nothing is raised.
    """
    if not _ENGINE.replaced:
        switch_on(_ENGINE, _replace)


def take_back() -> None:
    """Put vLLM's own functions back.

    Layers that were built before keep the prefill that they were built with.
    """
    registry = _registry(_ENGINE)
    if registry is not None and getattr(registry.get(PREFILL), "of_gdn_ops", False):
        del registry[PREFILL]
    _ENGINE.restore()


def _replace(engine: Engine) -> None:
    _register_prefill(engine)
    engine.rebind(f"{QWEN}.fused_recurrent_gated_delta_rule_packed_decode", _packed_decode)
    engine.rebind(f"{QWEN}.fused_sigmoid_gating_delta_rule_update", _sigmoid_gating)
    engine.rebind(f"{OLMO}.chunk_gated_delta_rule", _chunk)
    engine.rebind(f"{OLMO}.fused_recurrent_gated_delta_rule", _recurrent)


def _register_prefill(engine: Engine) -> None:
    name = f"{QWEN}.{PREFILL}"
    if not engine.known(
        f"{CUSTOM_OP}.CustomOp.register_oot", f"{name}.__init__", f"{name}.forward_native"
    ):
        return
    registry = _registry(engine)
    if registry is None:
        engine.leave(name, "its registry op_registry_oot does not exist")
    elif PREFILL in registry:
        engine.leave(name, f"{registry[PREFILL].__qualname__} is registered in its place")
    else:
        register = engine.find(f"{CUSTOM_OP}.CustomOp.register_oot")
        register(name=PREFILL)(_prefill_class(engine, engine.find(name)))
        engine.replaced.append(PREFILL)


def _registry(engine: Engine) -> Any:
    """Return vLLM's registry of out-of-tree classes: of the module, or in older ones of a class."""
    try:
        found = engine.find(f"{CUSTOM_OP}.op_registry_oot")
        return engine.find(f"{CUSTOM_OP}.CustomOp.op_registry_oot") if found is None else found
    except Exception:  # whatever vLLM raises when it is imported; ``known`` reports it
        return None


def _prefill_class(engine: Engine, base: Any) -> type:
    class GdnOpsChunkGatedDeltaRule(base):  # type: ignore[misc]
        """vLLM's prefill operator with gdn_ops as its method; the rest is vLLM's."""

        of_gdn_ops = True

        def __init__(self) -> None:
            super().__init__()
            self._forward_method: Callable[..., Any] = engine.serving(
                PREFILL, _prefill, self._forward_method
            )

    return GdnOpsChunkGatedDeltaRule


def _prefill(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    initial_state: torch.Tensor,
    output_final_state: bool,
    cu_seqlens: torch.Tensor | None = None,
    chunk_indices: torch.Tensor | None = None,
    chunk_offsets: torch.Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = True,
    core_attn_out: torch.Tensor | None = None,
    aiter_prefill_metadata: object = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    return _chunk(
        q, k, v, g, beta,
        initial_state=initial_state, output_final_state=output_final_state, cu_seqlens=cu_seqlens,
        use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel, core_attn_out=core_attn_out,
    )  # fmt: skip


def _chunk(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    output_final_state: bool = False,
    cu_seqlens: torch.Tensor | None = None,
    chunk_indices: torch.Tensor | None = None,
    chunk_offsets: torch.Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    core_attn_out: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    if core_attn_out is not None and not core_attn_out.is_contiguous():
        raise UnsupportedProblem(
            f"core_attn_out has strides {list(core_attn_out.stride())}; give a contiguous tensor."
        )
    with torch.no_grad():
        o, state = chunk_gated_delta_rule(
            q, k, v, g, beta,
            scale=scale, initial_state=initial_state, output_final_state=output_final_state,
            use_qk_l2norm_in_kernel=use_qk_l2norm_in_kernel, state_v_first=True,
            cu_seqlens=cu_seqlens,
        )  # fmt: skip
    if core_attn_out is None:
        return o, state
    # The buffer may have room for more tokens than this call has.
    filled = core_attn_out.view(-1)[: o.numel()].view(o.shape)
    return filled.copy_(o), state


def _packed_decode(
    mixed_qkv: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    A_log: torch.Tensor,
    dt_bias: torch.Tensor,
    scale: float,
    initial_state: torch.Tensor,
    out: torch.Tensor,
    ssm_state_indices: torch.Tensor,
    use_qk_l2norm_in_kernel: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    pool, slots = _without_slot_0(initial_state, ssm_state_indices)
    serving.fused_recurrent_gated_delta_rule_packed_decode(
        mixed_qkv, a, b, A_log, dt_bias, scale, pool, out, slots, use_qk_l2norm_in_kernel
    )
    return out, initial_state


def _sigmoid_gating(
    A_log: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    dt_bias: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    beta: float = 1.0,
    threshold: float = 20.0,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    inplace_final_state: bool = True,
    cu_seqlens: torch.Tensor | None = None,
    ssm_state_indices: torch.Tensor | None = None,
    num_accepted_tokens: torch.Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
    is_kda: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    pool, slots = _without_slot_0(initial_state, ssm_state_indices)
    if q.dtype == torch.float16 and pool.dtype == torch.float32:
        raise UnsupportedProblem(
            "q is float16 and the states are float32, for which vLLM returns outputs in float32 "
            "and gdn_ops in float16; keep the states in float16, or run the model in bfloat16."
        )
    o, states = serving.fused_sigmoid_gating_delta_rule_update(
        A_log, a, b, dt_bias, q, k, v, beta, threshold, scale, pool, inplace_final_state,
        cu_seqlens, slots, num_accepted_tokens, use_qk_l2norm_in_kernel, is_kda,
    )  # fmt: skip
    assert initial_state is not None
    return o, initial_state if inplace_final_state else states


def _recurrent(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor | None = None,
    scale: float | None = None,
    initial_state: torch.Tensor | None = None,
    inplace_final_state: bool = True,
    cu_seqlens: torch.Tensor | None = None,
    ssm_state_indices: torch.Tensor | None = None,
    num_accepted_tokens: torch.Tensor | None = None,
    use_qk_l2norm_in_kernel: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    pool, slots = _without_slot_0(initial_state, ssm_state_indices)
    o, states = serving.fused_recurrent_gated_delta_rule(
        q, k, v, g, beta, scale, pool, inplace_final_state, cu_seqlens, slots,
        num_accepted_tokens, use_qk_l2norm_in_kernel,
    )  # fmt: skip
    assert initial_state is not None
    return o, initial_state if inplace_final_state else states


def _without_slot_0(
    pool: torch.Tensor | None, slots: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pool from slot 1 on and the slots in it: slot 0, for padding, becomes -1."""
    if pool is None or slots is None:
        raise UnsupportedProblem(
            "initial_state or ssm_state_indices is None, for which vLLM reads the states by token; "
            "give both."
        )
    return pool[1:], slots - 1
