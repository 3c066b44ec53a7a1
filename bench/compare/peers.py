"""Peers: the calls of a case by other libraries, through the adapters of ``gdn_ops.providers``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import torch

from bench.compare.cases import Case
from bench.compare.contender import Bound, Contender
from bench.compare.inputs import Inputs
from bench.compare.ours import call_of, problem_of
from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.codegen.providers.flashinfer import LOGIT
from gdn_ops.dispatch.device import target_of
from gdn_ops.providers.adapter import adapter_of


def _bind(name: str, case: Case, x: Inputs) -> Bound:
    """Bring the inputs into the library's form, which is not timed, and return its call."""
    return adapter_of(name).prepared(problem_of(case), call_of(case, x))


def _refuses(name: str, case: Case, device: torch.device) -> str:
    return "; ".join(PROVIDERS[name].refusals(problem_of(case), target_of(device)))


def _flashinfer_refuses(case: Case, device: torch.device) -> str:
    # beta is below 1 in these cases, so that its decode computes the same
    problem = problem_of(case)
    reasons = PROVIDERS["flashinfer"].refusals(problem, target_of(device))
    if case.op == "decode":
        reasons = [reason for reason in reasons if reason != LOGIT]
    if not reasons and find_spec("cutlass") is None:
        reasons = ["its kernels need nvidia-cutlass-dsl, which is not installed"]
    return "; ".join(reasons)


def _transformers_refuses(case: Case, device: torch.device) -> str:
    if case.tokens > 2048 and device.type == "cpu":
        return "it takes minutes"
    return _refuses("transformers", case, device)


def _peer(
    name: str,
    provider: str,
    more: str = "",
    refuses: Callable[[Case, torch.device], str] | None = None,
    eager: tuple[str, ...] = (),
) -> Contender:
    library = PROVIDERS[provider]
    return Contender(
        name=name,
        package=library.package,
        distribution=library.distributions[0],
        install=f"pip install {library.install}{more}",
        refuses=refuses or partial(_refuses, provider),
        bind=partial(_bind, provider),
        eager=eager,
    )


PEERS = {
    peer.name: peer
    for peer in (
        _peer("FLA", "fla", "; on Hopper with Triton before 3.7.1 its backward needs TileLang and "
              "nvcc: pip install tilelang"),
        _peer("FlashQLA", "flashqla", "; it compiles with nvcc and g++"),
        _peer("FlashInfer", "flashinfer", refuses=_flashinfer_refuses),
        # Not captured: its chunks are thousands of kernels, and its backward uses another stream.
        _peer("transformers", "transformers", refuses=_transformers_refuses,
              eager=("forward", "backward")),
    )
}  # fmt: skip
