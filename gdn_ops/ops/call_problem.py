"""The problem of a call of ``chunk_gated_delta_rule``, found without running it."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.ops.checks import Arguments, problem_of
from gdn_ops.ops.gated_delta_rule import chunk_gated_delta_rule

_SIGNATURE = inspect.signature(chunk_gated_delta_rule)


def problem_of_call(*args: Any, **kwargs: Any) -> Problem:
    """Return the problem of a call, from the arguments of ``chunk_gated_delta_rule``.

    Raises:
        InvalidInput: as the call itself would raise it.
    """
    bound = _SIGNATURE.bind(*args, **kwargs)
    bound.apply_defaults()
    a = bound.arguments
    return problem_of(
        Arguments(
            q=a["q"], k=a["k"], v=a["v"], g=a["g"], beta=a["beta"],
            initial_state=a["initial_state"], output_final_state=a["output_final_state"],
            gate_in_kernel=a["use_gate_in_kernel"], A_log=a["A_log"], dt_bias=a["dt_bias"],
            state_v_first=a["state_v_first"], cu_seqlens=a["cu_seqlens"],
        )
    )  # fmt: skip


def asks_gradient(*args: Any, **kwargs: Any) -> bool:
    """Return whether a call with the arguments of ``chunk_gated_delta_rule`` records gradients."""
    given = (*args, *kwargs.values())
    return torch.is_grad_enabled() and any(
        isinstance(x, torch.Tensor) and x.requires_grad for x in given
    )
