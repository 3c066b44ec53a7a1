"""Running the gated delta rule of transformers' models on gdn_ops.

    from gdn_ops.integrations.transformers import use_gdn_ops

    use_gdn_ops(model)

Models with gated delta rule layers are Qwen3-Next, Qwen3.5 and OLMo hybrid.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from gdn_ops.errors import InvalidInput
from gdn_ops.integrations.convolution import causal_conv1d_fn, causal_conv1d_update
from gdn_ops.integrations.swap import Swap
from gdn_ops.ops import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule

Rule = Callable[..., tuple[Tensor, Tensor | None]]
Replacement = tuple[Any, str, Callable[..., Any]]
"""An owner, the name of its attribute, and what replaces it."""


def use_gdn_ops(model: nn.Module) -> Swap:
    """Run the gated delta rule of a transformers model on ``gdn_ops``, for prefill and decode.

    On the CPU the convolution before it, too. The layers call functions of their modelling module,
    so every model of the same class in this process runs on gdn_ops until ``restore()`` or the end
    of the ``with`` block. Weights and caches do not change.

    Args:
        model: a model of transformers with gated delta rule layers.

    Returns:
        A handle whose ``restore()`` undoes the replacement; also a context manager.

    Raises:
        InvalidInput: ``model`` is not a module, or has no gated delta rule layer of transformers.
    """
    if not isinstance(model, nn.Module):
        raise InvalidInput(f"model is a {type(model).__name__}; give a transformers model.")
    rules = dict.fromkeys(_rules(model))
    if not rules:
        raise InvalidInput(
            f"{type(model).__name__} has no gated delta rule layer from transformers; "
            "give a model such as Qwen3NextForCausalLM or Qwen3_5ForCausalLM."
        )
    originals = []
    for owner, name, ours in [*rules, *_convolutions(rules)]:
        originals.append((owner, name, getattr(owner, name)))
        setattr(owner, name, ours)
    return Swap(originals)


def _rules(model: nn.Module) -> Iterator[Replacement]:
    """Yield where each function is: module globals, or in older releases instance attributes."""
    for layer in model.modules():
        namespace = sys.modules[type(layer).__module__]
        for owner, prefix in ((namespace, "torch_"), (layer, "")):
            for name, rule in _RULES.items():
                if hasattr(owner, prefix + name):
                    yield owner, prefix + name, rule


def _convolutions(rules: Iterable[Replacement]) -> Iterator[Replacement]:
    """Yield the convolutions of the modules that have the rules; older releases have none there."""
    for namespace in dict.fromkeys(owner for owner, _, _ in rules if isinstance(owner, ModuleType)):
        for name, ours in _CONVOLUTIONS.items():
            if hasattr(namespace, name):
                yield namespace, name, ours(getattr(namespace, name))


def chunk(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    **arguments: Any,
) -> tuple[Tensor, Tensor | None]:
    """``chunk_gated_delta_rule`` as transformers' layers call it."""
    query, key, value = (_rows(x) for x in (query, key, value))
    return chunk_gated_delta_rule(query, key, value, g, beta, **_shared(arguments))


def recurrent(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    g: Tensor,
    beta: Tensor,
    **arguments: Any,
) -> tuple[Tensor, Tensor | None]:
    """``fused_recurrent_gated_delta_rule`` as transformers' layers call it."""
    return fused_recurrent_gated_delta_rule(query, key, value, g=g, beta=beta, **_shared(arguments))


def _rows(x: Tensor) -> Tensor:
    """Return x [B, T, H, D] with each head's channels side by side in memory.

    The layers pass views of the result of a convolution, [B, channels, T]. PyTorch copies a
    transposed matrix by blocks, and a transposed tensor with more dimensions element by element: on
    a CPU, for 1024 tokens and 32 heads of 128, in 6 ms and in 34 ms. What autograd records stays a
    view, as it would keep the copy for the backward.
    """
    if x.stride(-1) == 1 or x.requires_grad:
        return x
    matrices = [sequence.flatten(1).contiguous() for sequence in x]
    return torch.stack(matrices).view(x.shape) if len(matrices) > 1 else matrices[0].view(x.shape)


_RULES: dict[str, Rule] = {
    "chunk_gated_delta_rule": chunk,
    "recurrent_gated_delta_rule": recurrent,
}
_CONVOLUTIONS = {
    "causal_conv1d_fn": causal_conv1d_fn,
    "causal_conv1d_update": causal_conv1d_update,
}
_SHARED = ("initial_state", "output_final_state", "use_qk_l2norm_in_kernel", "cu_seqlens")


def _shared(arguments: dict[str, Any]) -> dict[str, Any]:
    # The layers also pass other arguments of the model, which the rule does not accept.
    return {name: arguments[name] for name in _SHARED if name in arguments}
