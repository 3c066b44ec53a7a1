"""The installed flash-linear-attention: its own kernels, in Triton's interpreter, by its adapter.

``python -m tests.fla_releases`` runs this on every release that is supported.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.codegen.variant import Provided
from gdn_ops.inputs.rule_inputs import Layout
from gdn_ops.launch.bind import bind
from gdn_ops.providers import fla as adapter
from gdn_ops.providers.installed import version_of, why_not_usable
from gdn_ops.verify.accuracy import rms_error
from gdn_ops.verify.accuracy_gate import verify
from gdn_ops.verify.expected import expected, within_sequences
from gdn_ops.verify.gate_cases import Case
from tests.gdn_ops.providers import stand_ins
from tests.gdn_ops.providers.interpreted_fla import interpret

if importlib.util.find_spec("fla") is None:
    pytest.skip("flash-linear-attention is not installed", allow_module_level=True)
if torch.cuda.is_available():
    pytest.skip("it runs on the GPU here: see tests/gpu", allow_module_level=True)

PROBLEM = Problem(
    op="forward", H=1, HV=2, K=16, V=24, dtype="fp32", tokens=70, sequences=1,
    initial_state=True, final_state=True, gate_in_kernel=True, dt_bias=True,
)  # fmt: skip
PACKED = replace(PROBLEM, varlen=True, sequences=4, gate_in_kernel=False, dt_bias=False)
LENGTHS = Layout((5, 0, 60, 0), tail=3)
CALLS = {
    "forward": (PROBLEM, Layout((70,))),
    "packed": (PACKED, LENGTHS),
    "gradients": (replace(PROBLEM, op="backward"), Layout((70,))),
    "packed gradients": (replace(PACKED, op="backward"), LENGTHS),
    "decode": (replace(PROBLEM, op="decode"), Layout((1, 1, 1))),
}  # fmt: skip


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    interpret(monkeypatch)
    yield


def installed() -> Provided:
    return Provided.by("fla", version_of(PROVIDERS["fla"]))


def test_the_stand_in_has_its_signatures() -> None:
    chunk, recurrent = adapter.load()
    assert why_not_usable(installed()) == []
    for own, theirs in (
        (stand_ins.fla_fwd, chunk.chunk_gated_delta_rule_fwd),
        (stand_ins.fla_bwd, chunk.chunk_gated_delta_rule_bwd),
        (stand_ins.fla_recurrent, recurrent),
    ):
        known = set(inspect.signature(inspect.unwrap(theirs)).parameters)
        if installed().version == stand_ins.VERSIONS["fla-core"]:
            assert list(inspect.signature(own).parameters) == list(
                inspect.signature(inspect.unwrap(theirs)).parameters
            )
        assert {"A_log", "dt_bias", "use_gate_in_kernel", "cu_seqlens", "scale"} <= known


@pytest.mark.parametrize("call", CALLS)
def test_its_kernels_give_the_results_of_the_rule(call: str) -> None:
    problem, layout = CALLS[call]
    right = expected(Case("", problem, layout), "cpu")
    launcher = bind(problem, installed())
    if problem.op == "backward":
        found = launcher.gradients(right.call)
    else:
        o, ht = launcher(right.call)
        assert ht is not None
        found = {"o": o, "ht": ht}
    found = within_sequences(found, right.call)
    assert found.keys() == right.outputs.keys()
    for name, ref in right.outputs.items():
        assert found[name].shape == ref.shape and rms_error(found[name], ref) < 1e-4, name


@pytest.mark.exhaustive
@pytest.mark.parametrize("op", ["forward", "decode", "backward"])
def test_what_the_accuracy_gate_says_of_it(op: str) -> None:
    problem = replace(PROBLEM, op=op, tokens=2 if op == "decode" else 70)
    for each in (problem, replace(PACKED, op=op)) if op != "decode" else (problem,):
        found = verify(each, installed(), interpret=True)
        faults = {case.name for case in found.cases if case.status != "ok"}
        # its dg is off by 1e-7, and dA_log sums its products with decays of up to -1000
        known = (
            {"log decays of -50 to -1000"} if op == "backward" and each.gate_in_kernel else set()
        )
        assert faults == known
