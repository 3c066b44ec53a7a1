"""Our contenders: the dispatcher's choice, single plans, and gradients with the inverse saved."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch

import gdn_ops
from bench.compare.cases import Case
from bench.compare.contender import Bound, Contender, Outputs
from bench.compare.inputs import Inputs
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.saved_tensors import SavedTensors, saved_tensors_of
from gdn_ops.dispatch.bindings import choice_for
from gdn_ops.dispatch.choice import choose_forced
from gdn_ops.dispatch.device import target_of
from gdn_ops.errors import GdnError
from gdn_ops.launch.bind import bind
from gdn_ops.launch.call import Call
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.packing import packing_of

KEEPING = "ours keeping inverse"
"""The gradients that the dispatcher runs if the forward saved the gate's sums and the inverse."""


def problem_of(case: Case) -> Problem:
    """Return the problem of a case."""
    return Problem(
        op=case.op, H=case.H, HV=case.HV, K=case.D, V=case.D, dtype=case.dtype,
        tokens=case.tokens, sequences=len(case.lengths), varlen=case.packed,
        initial_state=True, final_state=True,
    )  # fmt: skip


def ours(plan: str = "") -> Contender:
    """Return the contender of the dispatcher's choice, or of one plan's default variant."""
    return Contender(
        name=f"ours {plan}".strip(),
        package="",
        distribution="gdn-ops",
        install="",
        refuses=partial(_refuses, plan),
        bind=partial(_bind, plan),
    )


def _refuses(plan: str, case: Case, device: torch.device) -> str:
    try:
        _launcher_choice(plan, case, device)
    except GdnError as error:
        return str(error)
    return ""


def _launcher_choice(plan: str, case: Case, device: torch.device) -> Launcher:
    problem = problem_of(case)
    target = target_of(device)
    chosen = choose_forced(problem, target, plan) if plan else choice_for(problem, device)
    return bind(problem, chosen.variant)


def call_of(case: Case, x: Inputs) -> Call:
    """Return the inputs of a case as our launchers and the adapters of libraries take them."""
    packing = None if x.cu_seqlens is None else packing_of(x.cu_seqlens, x.q.shape[1])
    call = Call(x.q, x.k, x.v, x.g, x.beta, case.D**-0.5, h0=x.h0, packing=packing)
    return replace(call, do=x.do, dht=x.dht) if case.op == "backward" else call


def _bind(plan: str, case: Case, x: Inputs) -> Bound:
    call = call_of(case, x)
    if case.op == "backward":
        gradients = _launcher_choice(plan, case, x.q.device).gradients
        return lambda: gradients(call)
    if plan:
        launcher = _launcher_choice(plan, case, x.q.device)
        return lambda: _named(*launcher(call))
    return partial(_public, case, x)


def keeping_inverse() -> Contender:
    """Return ``ours`` with ``saving_for_backward("inverse")``, which saves what peers save."""
    return replace(ours(), name=KEEPING, refuses=_keeping_refuses, bind=_keeping_bind)


def _handover(case: Case, device: torch.device) -> tuple[Problem, SavedTensors, Launcher]:
    """Return the forward problem, the tensors that it saves, and the launcher of its gradients."""
    problem = problem_of(replace(case, op="forward"))
    gradients = problem_of(case)
    forward, backward = choice_for(problem, device), choice_for(gradients, device)
    saved = saved_tensors_of(
        "inverse", forward.variant, problem, backward.variant, gradients, forward.target
    )
    return problem, saved, bind(gradients, backward.variant)


def _keeping_refuses(case: Case, device: torch.device) -> str:
    if case.op != "backward":
        return "it is the same as ours"
    try:
        _, saved, _ = _handover(case, device)
    except GdnError as error:
        return str(error)
    return saved.why


def _keeping_bind(case: Case, x: Inputs) -> Bound:
    problem, saved, backward = _handover(case, x.q.device)
    call = call_of(case, x)
    _, _, tensors = bind(problem, saved.forward).run_and_save(call, saved.names)
    given = dict(zip(saved.names, tensors, strict=True))
    return lambda: backward.gradients(call, given=given)


def _public(case: Case, x: Inputs) -> Outputs:
    """Call the public function, as a model does, with checks and dispatch."""
    if case.op == "decode":
        return _named(
            *gdn_ops.fused_recurrent_gated_delta_rule(
                x.q, x.k, x.v, x.g, beta=x.beta, initial_state=x.h0, output_final_state=True
            )
        )
    return _named(
        *gdn_ops.chunk_gated_delta_rule(
            x.q, x.k, x.v, x.g, x.beta, initial_state=x.h0, output_final_state=True,
            cu_seqlens=x.cu_seqlens,
        )
    )  # fmt: skip


def _named(o: torch.Tensor, ht: torch.Tensor | None) -> Outputs:
    assert ht is not None
    return {"o": o, "ht": ht}
