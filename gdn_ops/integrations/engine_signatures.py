"""The signatures of the serving engines that the plug-ins serve, as read in the engines' sources.

A plug-in replaces a function only if its signature is one of these. A signature has no
annotations; the newest of a name is the last.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any


@dataclass(frozen=True)
class RecordedSignature:
    """The signature of a function or method in a release of an engine.

    Args:
        engine: the engine's package.
        version: the newest release that has this signature.
        name: the dotted name under which the engine calls it.
        parameters: its parameters, as ``parameters_of`` returns them.
    """

    engine: str
    version: str
    name: str
    parameters: str


VLLM_LAYERS = "vllm.model_executor.layers.mamba.gdn"
QWEN = f"{VLLM_LAYERS}.qwen_gdn_linear_attn"
OLMO = f"{VLLM_LAYERS}.olmo_gdn_linear_attn"
CUSTOM_OP = "vllm.model_executor.custom_op"
GDN_TRITON = "sglang.srt.layers.attention.linear.kernels.gdn_triton"
HOOKS = "sglang.srt.plugins.hook_registry"

_PREFILL = (
    "self, q, k, v, g, beta, initial_state, output_final_state, cu_seqlens=None, "
    "chunk_indices=None, chunk_offsets=None, use_qk_l2norm_in_kernel=True, core_attn_out=None"
)

RECORDED = (
    RecordedSignature(
        "vllm", "0.33", f"{CUSTOM_OP}.CustomOp.register_oot", "(_decorated_op_cls=None, name=None)"
    ),
    RecordedSignature("vllm", "0.33", f"{QWEN}.ChunkGatedDeltaRule.__init__", "(self)"),
    RecordedSignature(
        "vllm", "0.30", f"{QWEN}.ChunkGatedDeltaRule.forward_native", f"({_PREFILL})"
    ),
    RecordedSignature(
        "vllm",
        "0.33",
        f"{QWEN}.ChunkGatedDeltaRule.forward_native",
        f"({_PREFILL}, aiter_prefill_metadata=None)",
    ),
    RecordedSignature(
        "vllm",
        "0.33",
        f"{QWEN}.fused_recurrent_gated_delta_rule_packed_decode",
        "(mixed_qkv, a, b, A_log, dt_bias, scale, initial_state, out, ssm_state_indices, "
        "use_qk_l2norm_in_kernel=False)",
    ),
    RecordedSignature(
        "vllm",
        "0.33",
        f"{QWEN}.fused_sigmoid_gating_delta_rule_update",
        "(A_log, a, b, dt_bias, q, k, v, beta=1.0, threshold=20.0, scale=None, "
        "initial_state=None, inplace_final_state=True, cu_seqlens=None, ssm_state_indices=None, "
        "num_accepted_tokens=None, use_qk_l2norm_in_kernel=False, is_kda=False)",
    ),
    RecordedSignature(
        "vllm",
        "0.33",
        f"{OLMO}.chunk_gated_delta_rule",
        "(q, k, v, g, beta, scale=None, initial_state=None, output_final_state=False, "
        "cu_seqlens=None, chunk_indices=None, chunk_offsets=None, use_qk_l2norm_in_kernel=False, "
        "core_attn_out=None)",
    ),
    RecordedSignature(
        "vllm",
        "0.33",
        f"{OLMO}.fused_recurrent_gated_delta_rule",
        "(q, k, v, g, beta=None, scale=None, initial_state=None, inplace_final_state=True, "
        "cu_seqlens=None, ssm_state_indices=None, num_accepted_tokens=None, "
        "use_qk_l2norm_in_kernel=False)",
    ),
    RecordedSignature(
        "sglang",
        "0.5.23",
        f"{HOOKS}.HookRegistry.register",
        "(target, hook, hook_type=HookType.AFTER, *, source=None)",
    ),
    RecordedSignature(
        "sglang",
        "0.5.23",
        f"{GDN_TRITON}.TritonGDNKernel.decode",
        "(self, q, k, v, a, b, *, A_log, dt_bias, ssm_states, cache_indices, query_start_loc, "
        "**kwargs)",
    ),
    RecordedSignature(
        "sglang",
        "0.5.23",
        f"{GDN_TRITON}.TritonGDNKernel.extend",
        "(self, q, k, v, g, beta, *, ssm_states, cache_indices, query_start_loc, "
        "inplace_update=True, **kwargs)",
    ),
    RecordedSignature(
        "sglang",
        "0.5.23",
        f"{GDN_TRITON}.TritonGDNKernel.packed_decode",
        "(self, mixed_qkv, a, b, *, A_log, dt_bias, scale, ssm_states, cache_indices, "
        "num_v_heads, head_v_dim, **kwargs)",
    ),
    RecordedSignature(
        "sglang",
        "0.5.23",
        f"{GDN_TRITON}.TritonGDNKernel.target_verify",
        "(self, A_log, dt_bias, q, k, v, a, b, *, ssm_states, cache_indices, query_start_loc, "
        "intermediate_states_buffer, intermediate_state_indices, cache_steps, "
        "retrieve_parent_token, **kwargs)",
    ),
)


def recorded(name: str) -> tuple[RecordedSignature, ...]:
    """Return the known signatures of a dotted name, the newest last."""
    return tuple(x for x in RECORDED if x.name == name)


def parameters_of(function: Callable[..., Any]) -> str:
    """Return the parameters of a function as text: names, kinds and defaults."""
    signature = inspect.signature(function)
    bare = [
        p.replace(annotation=p.empty, default=_Member(p.default))
        if isinstance(p.default, Enum)
        else p.replace(annotation=p.empty)
        for p in signature.parameters.values()
    ]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def difference(function: Callable[..., Any], name: str) -> str:
    """Return how a function differs from every known signature of a name; empty: it is known."""
    try:
        found = parameters_of(function)
    except (TypeError, ValueError) as error:
        return f"its signature cannot be read ({error})"
    known = recorded(name)
    if any(found == x.parameters for x in known):
        return ""
    there, here = _by_name(known[-1].parameters), _by_name(found)
    parts = [f"it has no parameter {p}" for key, p in there.items() if key not in here]
    parts += [f"its parameter {p} is not known" for key, p in here.items() if key not in there]
    parts += [f"it has {here[key]} for {p}" for key, p in there.items() if here.get(key, p) != p]
    return "; ".join(parts) or f"its parameters have another order or kind: {found}"


class _Member:
    """The default of a parameter that is the member of an enumeration, shown by its name."""

    def __init__(self, member: Enum) -> None:
        self._text = f"{type(member).__name__}.{member.name}"

    def __repr__(self) -> str:
        return self._text


def _by_name(parameters: str) -> dict[str, str]:
    # No recorded default holds a comma or brackets, and one that does only makes the text longer.
    return {p.partition("=")[0]: p for p in parameters.strip("()").split(", ") if p not in "*/"}
