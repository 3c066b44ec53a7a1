"""The adapters: a call of ours becomes a library's, and its results are those of the rule.

FlashQLA and FlashInfer need a GPU, so they run as stand-ins with their published signatures.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from bench.compare.accuracy import errors, reference_of
from bench.compare.cases import GRIDS
from bench.compare.inputs import inputs_of
from bench.compare.peers import PEERS
from gdn_ops.codegen.errors import InvalidConfig
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Provided, Variant
from gdn_ops.errors import LaunchError
from gdn_ops.inputs.rule_inputs import Layout, random_call
from gdn_ops.launch.bind import bind
from gdn_ops.providers.installed import version_of, why_not_usable
from gdn_ops.verify.accuracy import rms_error, tiny_of
from gdn_ops.verify.accuracy_gate import verify
from gdn_ops.verify.expected import TOKEN_OUTPUTS, expected
from gdn_ops.verify.gate_cases import Case
from gdn_ops.verify.poison import surrounded_by_nan
from tests.gdn_ops.providers import stand_ins

FORWARD = Problem(
    op="forward", H=1, HV=2, K=8, V=12, dtype="fp32", tokens=18, sequences=2,
    initial_state=True, final_state=True,
)  # fmt: skip
RAW = replace(FORWARD, gate_in_kernel=True, dt_bias=True)
BARE = replace(FORWARD, initial_state=False, final_state=False)
PACKED = replace(FORWARD, varlen=True, sequences=4)
BATCH, LENGTHS = Layout((9, 9)), Layout((5, 0, 7, 0), tail=3)
CALLS = {
    "batch": (FORWARD, BATCH), "raw gate": (RAW, BATCH), "no states": (BARE, BATCH),
    "packed": (PACKED, LENGTHS),
    "gradients": (replace(FORWARD, op="backward"), BATCH),
    "gradients of a raw gate": (replace(RAW, op="backward", final_state=False), BATCH),
    "packed gradients": (replace(PACKED, op="backward"), LENGTHS),
    "decode": (replace(RAW, op="decode"), Layout((1, 1))),
}  # fmt: skip


def variant(name: str) -> Provided:
    return Provided.by(name, stand_ins.VERSIONS[PROVIDERS[name].distributions[0]])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["fla", "flashqla", "flashinfer"])
def test_a_library_gives_the_results_of_the_rule(
    name: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, layout = CALLS[call]
    # the stand-ins have any head dim and dtype; square states would hide a wrong layout
    refused = [r for r in PROVIDERS[name].refusals(problem, target_named("h200"))
               if "K = V" not in r and "fp32" not in r]  # fmt: skip
    if refused:
        assert name in refused[0].lower()
        return
    stand_ins.install(monkeypatch)
    right = expected(Case("", problem, layout), "cpu")
    launcher = bind(problem, variant(name))
    given = surrounded_by_nan(right.call)
    if problem.op == "backward":
        found = launcher.gradients(given)
    else:
        o, ht = launcher(given)
        assert o.dtype == torch.float32 and o.is_contiguous()
        found = {"o": o} if ht is None else {"o": o, "ht": ht}
    assert found.keys() == right.outputs.keys()
    end = given.q.shape[1] if given.packing is None else given.packing.offsets[-1]
    for output, ref in right.outputs.items():
        x = found[output]
        if output in TOKEN_OUTPUTS:
            assert x.shape[1] == given.q.shape[1] and not x[:, end:].any()
            x = x[:, :end]
        assert x.shape == ref.shape and rms_error(x, ref) < 1e-5, output


@pytest.mark.exhaustive
@pytest.mark.parametrize("op", ["forward", "backward", "decode"])
def test_transformers_passes_the_accuracy_gate(op: str) -> None:
    problem = replace(RAW, op=op, tokens=2 if op == "decode" else 18)
    version = version_of(PROVIDERS["transformers"])
    found = verify(problem, Provided.by("transformers", version))
    assert found.status == "ok", found.message
    if op == "forward":
        call, launcher = random_call(problem, device="cpu"), bind(problem, variant("transformers"))
        o, _ = launcher(call)
        tripled, _ = launcher(replace(call, scale=3 * call.scale))
        assert rms_error(tripled, 3 * o) < 1e-5, "it has no argument for the scale"


@pytest.mark.parametrize("name", ["FLA", "FlashQLA", "FlashInfer"])
def test_the_comparison_calls_the_same_adapters(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.install(monkeypatch)
    for case in GRIDS["tiny"]():
        if (name, case.op) in (("FlashQLA", "decode"), ("FlashInfer", "backward")):
            continue
        x = inputs_of(
            replace(case, dtype="bf16" if case.op == "decode" else "fp32"), torch.device("cpu")
        )
        with torch.no_grad():
            found = errors(PEERS[name].bind(case, x)(), reference_of(case, x))
        # FlashInfer decodes with the gate in 16 bits
        assert max(found.values()) < (5e-3 if case.op == "decode" else 1e-5), (case.name, found)


def test_what_a_library_cannot_compute_is_said() -> None:
    h200, a100, cpu = (target_named(name) for name in ("h200", "a100", "cpu"))
    small = replace(FORWARD, dtype="bf16")
    good = replace(small, K=128, V=128)
    linear = replace(good, rule=Rule("scalar", False))
    for name, problem, target, why in (
        ("fla", good, cpu, "kernels for GPUs only, and target cpu"),
        ("fla", linear, h200, "gated delta rule only, not for scalar-linear"),
        ("flashqla", good, a100, "supports sm_90, sm_100"),
        ("flashqla", small, h200, "K = V = 128 only, not K=8, V=12"),
        ("flashqla", replace(good, op="decode"), h200, "no decode"),
        ("flashinfer", replace(good, op="backward"), h200, "no gradients"),
        ("flashinfer", replace(good, op="decode"), h200, "below 1"),
        ("flashinfer", replace(good, dtype="fp32"), h200, "not fp32"),
        ("transformers", replace(good, varlen=True), cpu, "packed"),
    ):
        assert why in "; ".join(variant(name).reasons(problem, target)), (name, why)
    for name in ("fla", "flashqla", "flashinfer", "transformers"):
        assert variant(name).reasons(good, h200) == []


def test_only_a_librarys_gradients_may_be_off_where_they_are_zero() -> None:
    zero, noise = torch.zeros(50), torch.full((50,), 5e-7)
    ours = Variant.default("torch", FORWARD)
    for name, of, passes in (("dg", variant("fla"), True), ("dg", ours, False),
                             ("o", variant("fla"), False)):  # fmt: skip
        assert (rms_error(noise, zero, tiny=tiny_of(name, of, 1e-4)) < 1e-4) is passes
    assert rms_error(4 * noise, zero, tiny=tiny_of("dg", variant("fla"), 1e-4)) > 1e-4


def test_a_stored_library_is_read_back_and_a_hostile_one_refused() -> None:
    stored = variant("fla")
    assert str(stored) == "fla 0.6.0"
    assert Variant.from_json(stored.to_json(), FORWARD) == stored
    for stages in (
        {},
        {"fla": {}},
        {"fla": {"version": "__import__('os')"}},
        {"fla": {"version": 6}},
    ):
        with pytest.raises(InvalidConfig, match="is no version of provider fla"):
            Variant.from_json({"plan": "fla", "stages": stages}, FORWARD)


def test_a_missing_another_or_a_broken_release_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flash_qla", None)
    (why,) = why_not_usable(Provided.by("flashqla", "0.1.3"))
    assert "FlashQLA 0.1.3 is not installed here; `pip install flash-qla` installs it" in why
    stand_ins.install(monkeypatch, flash_qla="0.1.9", flashinfer_python="broken")
    (why,) = why_not_usable(Provided.by("flashqla", "0.1.3"))
    assert "timed with FlashQLA 0.1.3, and 0.1.9 is installed" in why
    assert why_not_usable(Provided.by("flashqla", "0.1.9")) == []
    monkeypatch.delitem(sys.modules, "flashinfer.gdn_prefill")
    (why,) = why_not_usable(Provided.by("flashinfer", "broken"))
    assert "FlashInfer broken is installed and cannot be imported: ModuleNotFoundError" in why
    with pytest.raises(LaunchError, match="provider flashinfer broken cannot be imported"):
        bind(FORWARD, Provided.by("flashinfer", "broken"))


def test_a_library_that_fails_in_a_call_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.install(monkeypatch)

    def failing(*args: object, **kwargs: object) -> None:
        raise ValueError("no kernel image")

    monkeypatch.setattr("flash_qla.chunk_gated_delta_rule_fwd", failing)
    launcher = bind(FORWARD, variant("flashqla"))
    with pytest.raises(
        LaunchError, match=r"flashqla 0\.1\.3 cannot compute forward.*no kernel image"
    ):
        launcher(random_call(FORWARD, device="cpu", layout=BATCH))
