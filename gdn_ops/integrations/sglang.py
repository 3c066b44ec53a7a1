"""Running the gated delta rule of SGLang on gdn_ops: decode, prefill and verification.

SGLang calls ``plug_in`` in each of its processes, through the entry point ``gdn_ops`` in the group
``sglang.srt.plugins``. It replaces methods only where ``GDN_OPS_SGLANG=1`` is set, or where a
results database has measured winners for the GPU.

SGLang keeps its states as [slots, HV, V, K]; a slot of -1 is padding.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import torch

from gdn_ops import serving
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.integrations.engine import Engine, switch_on
from gdn_ops.integrations.engine_signatures import GDN_TRITON, HOOKS
from gdn_ops.ops import chunk_gated_delta_rule

VARIABLE = "GDN_OPS_SGLANG"
KERNEL = f"{GDN_TRITON}.TritonGDNKernel"
SERVER_ARGUMENTS = (
    "sglang.srt.server_args.get_global_server_args",
    "sglang.srt.runtime_context.get_server_args",
)
"""Where releases of SGLang keep the function that returns the arguments of the server."""

_ENGINE = Engine("SGLang", "sglang", VARIABLE, logging.getLogger(__name__))
_SERVER: list[Callable[[], Any]] = []
"""The functions of ``SERVER_ARGUMENTS`` that this release has."""


def plug_in() -> None:
    """Register our methods of SGLang's Triton kernel for the gated delta rule, if switched on.

    SGLang puts the class in place after it has run its plug-ins. A second call does nothing. One
    line of the log says what was replaced, and what was left in place and why. Nothing is raised.
    """
    if not _ENGINE.replaced:
        switch_on(_ENGINE, _replace)


def take_back() -> None:
    """Remove our class from SGLang's registry, and put SGLang's own where ours is in use.

    Kernels that were built before keep the class that they were built with.
    """
    registry = _ENGINE.find(f"{HOOKS}.HookRegistry") if _ENGINE.replaced else None
    if registry is not None:
        registry._hooks[KERNEL] = [x for x in registry._hooks[KERNEL] if not _is_ours(x[1])]
        registry._patched.discard(KERNEL)
        for module in list(sys.modules.values()):
            names = vars(module) if hasattr(module, "__dict__") else {}
            for name in [n for n, x in list(names.items()) if _is_ours(x)]:
                setattr(module, name, names[name].__base__)
    _ENGINE.restore()


def _replace(engine: Engine) -> None:
    if not engine.known(f"{HOOKS}.HookRegistry.register"):
        return
    # Looked up once, because ``extend`` asks in every layer; the arguments are set later.
    _SERVER[:] = [f for name in SERVER_ARGUMENTS if (f := _server_arguments(engine, name))]
    methods = {name: f for name, f in _METHODS.items() if engine.known(f"{KERNEL}.{name}")}
    if methods:
        hooks = engine.find(HOOKS)
        ours = _kernel_class(engine, engine.find(KERNEL), methods)
        hooks.HookRegistry.register(KERNEL, ours, hooks.HookType.REPLACE)
        engine.replaced += [f"TritonGDNKernel.{name}" for name in methods]


def _server_arguments(engine: Engine, name: str) -> Any:
    try:
        return engine.find(name)
    except Exception:  # whatever a module raises when it is imported; prefill stays SGLang's then
        return None


def _is_ours(value: object) -> bool:
    # ``isinstance`` would run the code of lazy objects that only claim to be classes.
    return issubclass(type(value), type) and "of_gdn_ops" in vars(value)


def _kernel_class(engine: Engine, base: Any, methods: dict[str, Callable[..., Any]]) -> type:
    """Return a subclass of SGLang's kernel class that has ``methods`` and keeps the others."""

    def method(name: str, ours: Callable[..., Any]) -> Callable[..., Any]:
        theirs = getattr(base, name)
        # ``self`` is SGLang's; ours has no use for it.
        return engine.serving(f"{KERNEL}.{name}", lambda _, *a, **k: ours(*a, **k), theirs)

    members = {name: method(name, ours) for name, ours in methods.items()}
    return type("GdnOpsGDNKernel", (base,), {**members, "of_gdn_ops": True})


def _decode(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    A_log: torch.Tensor,
    dt_bias: torch.Tensor,
    ssm_states: torch.Tensor,
    cache_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    **more: Any,
) -> torch.Tensor:
    _refuse(more)
    o, _ = serving.fused_sigmoid_gating_delta_rule_update(
        A_log, a, b, dt_bias, q, k, v,
        initial_state=ssm_states, cu_seqlens=query_start_loc, ssm_state_indices=cache_indices,
        use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    return o


def _packed_decode(
    mixed_qkv: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    A_log: torch.Tensor,
    dt_bias: torch.Tensor,
    scale: float,
    ssm_states: torch.Tensor,
    cache_indices: torch.Tensor,
    num_v_heads: int,
    head_v_dim: int,
    **more: Any,
) -> torch.Tensor:
    _refuse(more)
    out = mixed_qkv.new_empty(mixed_qkv.shape[0], 1, num_v_heads, head_v_dim)
    serving.fused_recurrent_gated_delta_rule_packed_decode(
        mixed_qkv, a, b, A_log, dt_bias, scale, ssm_states, out, cache_indices,
        use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    return out.transpose(0, 1)


def _extend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    g: torch.Tensor,
    beta: torch.Tensor,
    *,
    ssm_states: torch.Tensor,
    cache_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    inplace_update: bool = True,
    **more: Any,
) -> tuple[torch.Tensor, None, None]:
    _refuse(more)
    if not inplace_update:
        raise UnsupportedProblem(
            "inplace_update=False scores several items per request, which is not supported."
        )
    if _caches_states_of_chunks():
        raise UnsupportedProblem(
            "the server caches states at the ends of chunks, which gdn_ops does not return; start "
            "it with --disable-radix-cache, or without extra buffers for these states."
        )
    N = query_start_loc.shape[0] - 1
    slots = cache_indices[:N].long()
    before = ssm_states[slots.clamp(min=0)]
    with torch.no_grad():
        o, after = chunk_gated_delta_rule(
            q, k, v, g, beta,
            initial_state=before, output_final_state=True, use_qk_l2norm_in_kernel=True,
            state_v_first=True, cu_seqlens=query_start_loc,
        )  # fmt: skip
    assert after is not None
    # A padding row repeats the first row that is none, so that it writes the same values there
    # again. This needs no copy to the host. If all rows are padding, slot 0 gets its own values.
    real = slots >= 0
    rows = torch.where(real, torch.arange(N, device=slots.device), real.int().argmax())
    kept = real[rows].view(-1, 1, 1, 1)
    written = torch.where(kept, after[rows].to(ssm_states.dtype), before[rows])
    ssm_states[slots[rows].clamp(min=0)] = written
    return o, None, None


def _target_verify(
    A_log: torch.Tensor,
    dt_bias: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    a: torch.Tensor,
    b: torch.Tensor,
    *,
    ssm_states: torch.Tensor,
    cache_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    intermediate_states_buffer: torch.Tensor,
    intermediate_state_indices: torch.Tensor,
    cache_steps: int,
    retrieve_parent_token: torch.Tensor | None,
    **more: Any,
) -> torch.Tensor:
    _refuse(more)
    buffer = intermediate_states_buffer
    if retrieve_parent_token is not None:
        raise UnsupportedProblem("retrieve_parent_token is given; draft trees are not supported.")
    if buffer is None or not buffer.is_contiguous() or buffer.dtype != ssm_states.dtype:
        raise UnsupportedProblem(
            "intermediate_states_buffer must be contiguous and have the dtype of ssm_states."
        )
    # The buffer becomes the pool. Each sequence has a slot per step in it, and starts from the
    # last one, to which its state is copied; ssm_states does not change.
    N, steps = query_start_loc.shape[0] - 1, buffer.shape[1]
    slots, places = cache_indices[:N].long(), intermediate_state_indices[:N].long()
    buffer[places, -1] = ssm_states[slots.clamp(min=0)]
    columns = places.unsqueeze(1) * steps + torch.arange(steps, device=slots.device)
    o, _ = serving.fused_sigmoid_gating_delta_rule_update(
        A_log, a, b, dt_bias, q, k, v,
        initial_state=buffer.flatten(0, 1), cu_seqlens=query_start_loc,
        ssm_state_indices=torch.where(slots.unsqueeze(1) < 0, -1, columns),
        num_accepted_tokens=torch.full_like(slots, steps), use_qk_l2norm_in_kernel=True,
    )  # fmt: skip
    return o


_METHODS: dict[str, Callable[..., Any]] = {
    "decode": _decode,
    "extend": _extend,
    "packed_decode": _packed_decode,
    "target_verify": _target_verify,
}


def _refuse(more: dict[str, Any]) -> None:
    given = sorted(name for name, value in more.items() if value is not None)
    if given:
        raise UnsupportedProblem(f"{', '.join(given)} is given, which gdn_ops does not know.")


def _caches_states_of_chunks() -> bool:
    """Return whether the server's prefix cache needs states from inside a prefill, or may."""
    for server_arguments in _SERVER:
        try:
            return bool(server_arguments().enable_mamba_extra_buffer())
        except (AttributeError, TypeError, ValueError):  # not set, or of another release
            continue
    return True
