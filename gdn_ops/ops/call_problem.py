"""The problem that a call poses, found without running it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.errors import InvalidInput
from gdn_ops.ops.checks import Arguments, problem_of
from gdn_ops.ops.gated_delta_rule import NEG_EIGVAL_ALONE, chunk_gated_delta_rule
from gdn_ops.ops.kda import bounded_gate, checked_bound, chunk_kda, raw_gate, refuse_kda
from gdn_ops.ops.keywords import check_chunk_size, refuse, renamed

_SIGNATURE = inspect.signature(chunk_gated_delta_rule)
_KDA_SIGNATURE = inspect.signature(chunk_kda)


def problem_of_call(*args: Any, **kwargs: Any) -> Problem:
    """Return the problem of a call, from the arguments of ``chunk_gated_delta_rule``.

    Raises:
        InvalidInput, UnsupportedProblem, TypeError: as the call itself would raise it.
    """
    a = _bound(_SIGNATURE, args, kwargs)
    state_v_first = renamed(a["unknown"], a["state_v_first"])
    refuse(a["unknown"], a["cp_context"])
    check_chunk_size(a["chunk_size"])
    return problem_of(
        _arguments(a, state_v_first, gate=a["use_gate_in_kernel"], raw=(a["A_log"], a["dt_bias"]))
    )


def problem_of_kda_call(*args: Any, **kwargs: Any) -> Problem:
    """Return the problem of a call, from the arguments of ``chunk_kda``.

    Raises:
        InvalidInput, UnsupportedProblem, TypeError: as the call itself would raise it.
    """
    a = _bound(_KDA_SIGNATURE, args, kwargs)
    names = ("disable_recompute", "return_intermediate_states", "use_graph", "cp_context")
    state_v_first = renamed(a["unknown"], a["state_v_first"])
    refuse_kda(a["unknown"], **{n: a[n] for n in names})
    gate, bound = a["use_gate_in_kernel"], a["lower_bound"]
    raw = raw_gate(a["A_log"], a["dt_bias"], a["k"])
    if not gate or (bound is None and not a["safe_gate"]):
        return problem_of(_arguments(a, state_v_first, gate=gate, raw=raw))
    checked_bound(bound, safe=a["safe_gate"])
    raw = bounded_gate(a["A_log"], a["dt_bias"], a["k"], a["v"])
    problem = problem_of(_arguments(a, state_v_first, gate=True, raw=raw))
    # A gate with a lower bound is activated before the kernels run.
    return replace(problem, gate_in_kernel=False, dt_bias=False)


def _bound(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return every argument of a call by name, with the defaults of those that are not given."""
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    if bound.arguments["allow_neg_eigval"] and not bound.arguments["use_beta_sigmoid_in_kernel"]:
        raise InvalidInput(NEG_EIGVAL_ALONE)
    return bound.arguments


def _arguments(
    a: dict[str, Any],
    state_v_first: bool,
    *,
    gate: bool,
    raw: tuple[torch.Tensor | None, torch.Tensor | None],
) -> Arguments:
    return Arguments(
        q=a["q"], k=a["k"], v=a["v"], g=a["g"], beta=a["beta"],
        initial_state=a["initial_state"], output_final_state=a["output_final_state"],
        gate_in_kernel=gate, A_log=raw[0] if gate else None, dt_bias=raw[1] if gate else None,
        state_v_first=state_v_first, cu_seqlens=a["cu_seqlens"],
    )  # fmt: skip


def asks_gradient(*args: Any, **kwargs: Any) -> bool:
    """Return whether a call with these arguments records gradients."""
    given = (*args, *kwargs.values())
    return torch.is_grad_enabled() and any(
        isinstance(x, torch.Tensor) and x.requires_grad for x in given
    )
