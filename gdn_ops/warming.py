"""Warm-up: render, compile and load the kernels of given problems before the first request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from gdn_ops.codegen.dtype import DTYPES
from gdn_ops.codegen.errors import shown
from gdn_ops.codegen.mixer import Use
from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch.bindings import launcher_for, sound_choices_for
from gdn_ops.dispatch.choice import Choice
from gdn_ops.dispatch.device import local_device
from gdn_ops.dispatch.model_layers import device_of, mixers_of
from gdn_ops.errors import InvalidInput
from gdn_ops.launch.call import Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.packing import packing_of
from gdn_ops.launch.torch_dtype import torch_dtype
from gdn_ops.serving.warm_call import warm_call

WARM_TOKENS = 256
"""Two chunks of the largest size. Compiled kernels do not depend on the sequence length."""


def warmup(
    problems: Problem | Iterable[Problem] | nn.Module,
    device: torch.device | str | None = None,
    *,
    gate_dtype: torch.dtype | None = None,
    beta_dtype: torch.dtype | None = None,
    lengths: Iterable[int] | None = None,
    batches: Iterable[int] | None = None,
    training: bool = False,
    serving: bool = False,
) -> list[Choice]:
    """Verify and compile the variant that each problem, or each layer of a model, will run on.

    On a GPU, kernels that were never verified there are checked first, as a first call would do.
    Nothing is tuned. Each variant runs once on one small random input of at most 256 tokens.

    Args:
        problems: one problem or several that later calls will pose; or a model, any ``nn.Module``
            with recurrent layers of gdn_ops, flash-linear-attention or transformers, which are
            found by their classes.
        device: the device of the later calls. Default: that of the model's weights; for problems
            the current GPU.
        gate_dtype: dtype of g in the later calls; kernels are compiled per dtype. Default: as the
            layers of the model have it; for problems float32.
        beta_dtype: the same for beta.
        lengths: with a model: tokens of the prompts, 2048 and 8192 by default.
        batches: with a model: sequences that are decoded together, 1 and 32 by default.
        training: with a model: warm outputs and gradients of training batches of these lengths and
            batches (1 by default) instead.
        serving: with a model: warm packed prompts and decode on a pool of states instead.

    Returns:
        The choice for each problem, in the order given: the variant and how it was found.

    Raises:
        InvalidInput: this machine does not have the device, an argument has the wrong type, or the
            model has no layer that is known.
        UnsupportedProblem: no plan can run a problem on the device.
    """
    for name, dtype in (("gate_dtype", gate_dtype), ("beta_dtype", beta_dtype)):
        if dtype is None:
            continue
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise InvalidInput(
                f"{name}={shown(dtype)} is not a floating-point torch.dtype; give e.g. "
                "torch.float32."
            )
    posed: list[tuple[Problem, torch.dtype, torch.dtype]]
    if isinstance(problems, nn.Module):
        use = Use.of(lengths, batches, training=training, serving=serving)
        where = local_device(device_of(problems) if device is None else device)
        posed = [
            (
                problem,
                gate_dtype or torch_dtype(DTYPES[mixer.gate_dtype]),
                beta_dtype or torch_dtype(DTYPES[mixer.beta_dtype]),
            )
            for mixer in mixers_of(problems)
            for problem in mixer.problems(use)
        ]
    else:
        if lengths is not None or batches is not None or training or serving:
            raise InvalidInput(
                "lengths, batches, training and serving belong to a model; a Problem has its own "
                "sizes."
            )
        where = local_device("cuda" if device is None else device)
        usual = torch.float32
        posed = [(p, gate_dtype or usual, beta_dtype or usual) for p in _as_list(problems)]
    choices = sound_choices_for([problem for problem, _, _ in posed], where)
    for problem, gate, beta in posed:
        _run(launcher_for(problem, where), problem, where, gate, beta)
    return choices


def _as_list(problems: Problem | Iterable[Problem]) -> list[Problem]:
    given = [problems] if not isinstance(problems, Iterable) else list(problems)
    for problem in given:
        if not isinstance(problem, Problem):
            raise InvalidInput(
                f"{shown(problem)} is not a Problem; give gdn_ops.Problem(op=..., H=..., ...), or "
                "a model."
            )
    return given


def _run(
    launcher: Launcher,
    problem: Problem,
    device: torch.device,
    gate_dtype: torch.dtype,
    beta_dtype: torch.dtype,
) -> None:
    if problem.op == "pool":
        launcher(warm_call(problem, device, gate_dtype, beta_dtype))
        return
    p = replace(problem, tokens=min(problem.tokens, WARM_TOKENS), sequences=1)
    dtype = torch_dtype(DTYPES[p.dtype])
    T = 1 if p.op == "decode" else p.tokens

    def random(*shape: int, like: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.rand(*shape, device=device).to(like)

    backward = p.op == "backward"
    channels = (p.K,) if p.rule.gate == "vector" else ()
    call = Call(
        q=random(1, T, p.H, p.K, like=dtype),
        k=random(1, T, p.H, p.K, like=dtype) * p.K**-0.5,
        v=random(1, T, p.HV, p.V, like=dtype),
        g=-random(1, T, p.HV, *channels, like=gate_dtype) if p.rule.gate != "none" else None,
        beta=random(1, T, p.HV, like=beta_dtype) if p.rule.delta else None,
        scale=p.K**-0.5,
        A_log=random(p.HV) if p.gate_in_kernel else None,
        dt_bias=random(p.HV, *channels) if p.dt_bias else None,
        h0=random(1, p.HV, p.K, p.V) if p.initial_state else None,
        packing=packing_of(torch.tensor([0, T], device=device), T) if p.varlen else None,
        do=random(1, T, p.HV, p.V, like=dtype) if backward else None,
        dht=random(1, p.HV, p.K, p.V) if backward and p.final_state else None,
    )
    with torch.no_grad():
        if backward:
            launcher.gradients(call)
        else:
            launcher(call)
