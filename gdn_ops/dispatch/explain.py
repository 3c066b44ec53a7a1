"""``explain``: what a call, a problem or a model runs on, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, overload

import torch
from torch import nn

from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.mixer import Use
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.target import Target
from gdn_ops.dispatch.explanation import Explanation, explained_problem, with_gradients
from gdn_ops.dispatch.finder import finder
from gdn_ops.dispatch.model_explanation import ModelExplanation, explained, in_short
from gdn_ops.dispatch.model_layers import device_of, mixers_of
from gdn_ops.dispatch.posed import Posed, posed_by
from gdn_ops.errors import InvalidInput
from gdn_ops.ops import chunk_gated_delta_rule

USE_OPTIONS = ("lengths", "batches", "training", "serving")
"""What ``explain`` takes besides a model; see ``Use``."""


@overload
def explain(
    model: nn.Module,
    /,
    *,
    lengths: Iterable[int] | None = None,
    batches: Iterable[int] | None = None,
    training: bool = False,
    serving: bool = False,
    target: str | Target | None = None,
    device: torch.device | str | None = None,
) -> ModelExplanation: ...


@overload
def explain(
    *call: Any,
    target: str | Target | None = None,
    device: torch.device | str | None = None,
    **kwargs: Any,
) -> Explanation: ...


def explain(
    *call: Any,
    target: str | Target | None = None,
    device: torch.device | str | None = None,
    **kwargs: Any,
) -> Explanation | ModelExplanation:
    """Explain which variant a call, a problem, or each layer of a model runs on. Nothing is run.

    Args:
        call: a function of ``gdn_ops`` or ``gdn_ops.serving`` and the positional arguments of its
            call; without a function those of ``chunk_gated_delta_rule``; or one Problem; or one
            model, any ``nn.Module`` with recurrent layers of gdn_ops, flash-linear-attention or
            transformers.
        target: explain for this target, e.g. ``h200``; this machine need not have it.
        device: explain for this torch device. Default: the device of the call or model; for a
            Problem the current GPU, or the CPU if there is none.
        kwargs: the keyword arguments of the call. For a model ``lengths``, the tokens of prompts,
            ``batches``, the sequences that are decoded together, ``training``, whether to explain
            outputs and gradients of training batches of these sizes instead, and ``serving``,
            whether to explain packed prompts and decode on a pool of states instead.

    Returns:
        The explanation; ``print`` it. If a call records gradients, it has a part for them. It also
        explains why nothing can run a problem, e.g. in an exported library; its ``choice`` raises
        UnsupportedProblem then. For a model it is a ``ModelExplanation``, with a row for each kind
        of layer and problem.

    Raises:
        InvalidInput: a tensor violates the contract of the function, the model has no layer that is
            known, or this machine does not have the device.
        UnsupportedProblem: the call runs on no variant, e.g. in float64.
        UnknownName: there is no target of this name.
    """
    subject = call[0] if call else None
    if isinstance(subject, nn.Module):
        use = _use_of(call[1:], kwargs)
        found = mixers_of(subject)
        find = finder(device_of(subject) if device is None else device, target)
        return explained({mixer: in_short(names) for mixer, names in found.items()}, use, find)
    if isinstance(subject, Problem):
        default = "cuda" if torch.cuda.is_available() else "cpu"
        posed = Posed(subject, torch.device(default), False)
    elif callable(subject) and not isinstance(subject, torch.Tensor):
        posed = posed_by(*call, **kwargs)
    else:
        posed = posed_by(chunk_gated_delta_rule, *call, **kwargs)
    find = finder(posed.device if device is None else device, target)
    explanation = explained_problem(posed.problem, find)
    return with_gradients(explanation, find) if posed.gradients else explanation


def _use_of(more: tuple[Any, ...], kwargs: dict[str, Any]) -> Use:
    """The use of a model that the further arguments of ``explain`` describe."""
    unknown = [*map(shown, more), *(name for name in kwargs if name not in USE_OPTIONS)]
    if unknown:
        raise InvalidInput(
            f"explain(model) does not take {', '.join(unknown)}; it takes "
            f"{', '.join(USE_OPTIONS)}, target and device."
        )
    return Use.of(**kwargs)
