from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.launch.launcher import Launcher
from gdn_ops.launch.stage_launcher import StageLauncher, Workspace
from gdn_ops.sources import templates
from gdn_ops.verify import accuracy_gate
from gdn_ops.verify.accuracy import NOT_FINITE
from gdn_ops.verify.accuracy_gate import COMPILING, GateResult, run, verify, verify_first_use
from gdn_ops.verify.gate_cases import first_use_cases

PROBLEM = Problem(
    op="forward", H=4, HV=8, K=32, V=20, dtype="fp32", tokens=512, sequences=1, final_state=True
)
PACKED = replace(PROBLEM, varlen=True, sequences=3, initial_state=True)
DECODE = replace(PACKED, op="decode", varlen=False, tokens=4, sequences=4)
FLAGS = {
    "batch": PROBLEM,
    "packed": PACKED,
    "raw gate": replace(PROBLEM, gate_in_kernel=True, dt_bias=True, dtype="bf16"),
    "no gate": replace(PROBLEM, rule=Rule("none", True), dtype="fp16"),
    "no delta": replace(PACKED, rule=Rule("scalar", False), gate_in_kernel=True, dt_bias=True),
    "no delta, no gate": replace(PROBLEM, rule=Rule("none", False), dtype="bf16"),
    "no delta, decode": replace(DECODE, rule=Rule("scalar", False)),
    "no delta, backward": replace(PACKED, op="backward", rule=Rule("scalar", False)),
    "decode": DECODE,
    "backward": replace(PACKED, op="backward", gate_in_kernel=True, dt_bias=True),
}
TINY = Problem(
    op="forward", H=2, HV=4, K=16, V=16, dtype="fp32", tokens=64, sequences=1, final_state=True
)
SMALL_CHUNKS: dict[str, object] = {"BT": 16}
GIVES_BACK = tuple[torch.Tensor, torch.Tensor | None]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path))


def verified(problem: Problem, **options: Any) -> GateResult:
    return verify(problem, Variant.default("torch", problem), **options)


@pytest.mark.parametrize("problem", FLAGS.values(), ids=FLAGS)
def test_the_torch_plan_is_right(problem: Problem) -> None:
    verdict = verified(problem)
    assert verdict.status == "ok", verdict.message
    assert all(case.status == "ok" and case.worst <= 1 for case in verdict.cases)
    assert all(0 < error < 2e-2 for error in verdict.errors.values())


def test_a_gradient_is_held_to_its_own_bars() -> None:
    verdict = verified(FLAGS["backward"])
    gradients = {"dq", "dk", "dv", "dg", "dbeta", "dh0", "dA_log", "ddt_bias"}
    assert set(verdict.errors) == gradients


def test_a_workers_job_gets_a_json_payload() -> None:
    variant = Variant.default("torch", DECODE)
    job = {
        "problem": DECODE.facts(), "variant": variant.to_json(), "device": "cpu",
        "interpret": False, "repeats": 3,
    }  # fmt: skip
    payload = run(job)
    assert json.loads(json.dumps(payload))["status"] == "ok"
    assert set(payload) == {"status", "errors", "cases", "message"}
    assert {"name", "errors"} <= set(payload["cases"][0])


@pytest.mark.parametrize("solve", ["rows", "blocks", "doubling"])
def test_a_split_variant_is_right_in_the_interpreter(solve: str) -> None:
    variant = Variant.of("split", TINY, SMALL_CHUNKS, {"solve": {"solve": solve}})
    verdict = verify(TINY, variant, interpret=True)
    assert verdict.status == "ok", verdict.message
    assert verdict.errors["o"] < 1e-5


@pytest.mark.parametrize("problem", [replace(TINY, dtype="bf16"), replace(TINY, varlen=True)])
def test_a_recurrent_variant_is_right_in_the_interpreter(problem: Problem) -> None:
    verdict = verify(problem, Variant.default("recurrent", problem), interpret=True)
    assert verdict.status == "ok", verdict.message


def test_a_flipped_sign_in_a_rendered_kernel_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = templates.render

    def flipped(spec: Any, problem: Any, config: Any, *, interpret: bool) -> str:
        source = right(spec, problem, config, interpret=interpret)
        if spec.name != "chunk_o":
            return source
        assert " += " in source
        return source.replace(" += ", " -= ", 1)

    monkeypatch.setattr(templates, "render", flipped)
    verdict = verify(TINY, Variant.of("split", TINY, SMALL_CHUNKS), interpret=True)
    assert verdict.status == "wrong"
    assert "of o, bar" in verdict.message


def breaking(monkeypatch: pytest.MonkeyPatch, damage: Callable[[dict[str, Any]], None]) -> None:
    """Let every stage do some damage to its workspace after it ran."""
    right = StageLauncher.launch

    def broken(self: StageLauncher, workspace: Workspace) -> None:
        right(self, workspace)
        damage(workspace.values)

    monkeypatch.setattr(StageLauncher, "launch", broken)


def _late_token(values: dict[str, Any]) -> None:
    values["o"][:, 70:71, 2] *= -1


def _hole(values: dict[str, Any]) -> None:
    values["o"][:, -1:, -1, -1:] = torch.empty(1)


def _stale_state(values: dict[str, Any]) -> None:
    if "ht" in values:
        values["ht"] = values["ht"] * 1.01


def _wrong_dtype(values: dict[str, Any]) -> None:
    values["o"] = values["o"].double()


def _wrong_heads(values: dict[str, Any]) -> None:
    values["o"] = values["o"][:, :, :1].expand_as(values["o"]).contiguous()


def _past_the_end(values: dict[str, Any]) -> None:
    o = torch.empty(values["o"].shape).copy_(values["o"])
    values["o"] = o
    o.as_strided((o.numel() + 1,), (1,))[-1] = 0.0


def _into_an_input(values: dict[str, Any]) -> None:
    values["k"].mul_(0.5)


def _around_an_input(values: dict[str, Any]) -> None:
    q = values["q"]
    q.as_strided((1,), (1,), q.storage_offset() - 1).zero_()


WRONG = {
    _late_token: "of o, bar 1.4e-05, first at token 70 of sequence 0, value head 2",
    _hole: "NaN or infinity in o, first at token",
    _stale_state: "error 0.01 of ht, bar",
    _wrong_dtype: "o is float64 [1, 13, 4, 20], not float32 [1, 13, 4, 20]",
    _wrong_heads: "of sequence 0, value head 1",
    _past_the_end: "it writes past the end of a tensor",
    _into_an_input: "it writes into its input k",
    _around_an_input: "it writes into its input q",
}


@pytest.mark.parametrize("damage", WRONG, ids=lambda damage: damage.__name__)
def test_damage_is_wrong_and_told_in_words(
    damage: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch, damage)
    verdict = verified(PROBLEM)
    assert verdict.status == "wrong"
    told = {case.fault for case in verdict.cases}
    assert any(WRONG[damage] in fault for fault in told), told
    assert verdict.message in told


def test_a_missing_final_state_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Launcher.__call__
    monkeypatch.setattr(Launcher, "__call__", lambda self, call: (right(self, call)[0], None))
    assert "ht is missing" in verified(DECODE).message


def test_reading_past_an_input_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def leak(values: dict[str, Any]) -> None:
        v = values["v"]
        behind = v.as_strided((1,), (1,), v.storage_offset() + v.numel())
        values["o"] += 1e-9 * behind

    breaking(monkeypatch, leak)
    verdict = verified(PROBLEM)
    assert (verdict.status, verdict.errors["o"]) == ("wrong", NOT_FINITE)


def test_tokens_of_nobody_are_read_at_ones_peril(monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, lambda values: values["o"].add_(values["v"][:, -1:].mean() * 1e-9))
    faults = [case.fault for case in verified(PACKED).cases if case.status == "wrong"]
    assert len(faults) == 1
    assert faults[0].startswith("'empty, short and ragged sequences with unused tokens at the end'")


def test_noise_within_the_bar_is_nondeterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    breaking(monkeypatch, lambda v: v["o"].mul_(1 + 1e-6 * torch.rand_like(v["o"])))
    verdict = verified(PROBLEM)
    assert verdict.status == "nondeterministic"
    assert "o of run 2 differs in bits from run 1" in verdict.message


def test_a_rare_slip_needs_every_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []

    def slips(values: dict[str, Any]) -> None:
        if values["o"].shape[1] == 401:
            runs.append(1)
            values["o"] *= 1 + 1e-6 * (len(runs) == 7)

    breaking(monkeypatch, slips)
    assert verified(PROBLEM, repeats=2).status == "ok"
    runs.clear()
    verdict = verified(PROBLEM, repeats=30)
    assert verdict.status == "nondeterministic"
    assert "'several chunks and a ragged end': o of run 7 differs in bits" in verdict.message


def test_a_neumann_series_over_a_chunk_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Launcher, "__call__", lambda self, call: neumann(call))
    verdict = verified(replace(PROBLEM, H=1, HV=1, K=64, V=64))
    wrong = {case.name for case in verdict.cases if case.status == "wrong"}
    assert wrong == {"correlated keys", "beta near 2, correlated keys"}


def neumann(call: Any, BT: int = 64) -> GIVES_BACK:
    """The chunkwise rule with (I + L)^-1 = (I - L)(I + L^2)(I + L^4)..., exact but for rounding."""
    q, k, v = (x.transpose(1, 2) for x in (call.q, call.k, call.v))
    g, beta = (x.transpose(1, 2)[..., None] for x in (call.g, call.beta))
    S = torch.zeros(*v.shape[:2], k.shape[-1], v.shape[-1]) if call.h0 is None else call.h0
    o = []
    for start in range(0, q.shape[2], BT):
        q_c, k_c, v_c, g_c, b_c = (x[:, :, start : start + BT] for x in (q, k, v, g, beta))
        gc = g_c.cumsum(2)
        lower = torch.ones(gc.shape[2], gc.shape[2], dtype=torch.bool).tril()
        decay = torch.where(lower, gc - gc.mT, -torch.inf).exp()
        power = -(b_c * (k_c @ k_c.mT)).tril(-1)
        inverse = torch.eye(len(lower)) + power
        for _ in range(6):
            power = power @ power
            inverse = inverse + inverse @ power
        u = (inverse * decay) @ (b_c * (v_c - gc.exp() * (k_c @ S)))
        o.append(call.scale * (gc.exp() * (q_c @ S) + ((q_c @ k_c.mT) * decay) @ u))
        S = gc[:, :, -1:].exp() * S + (k_c * (gc[:, :, -1:] - gc).exp()).mT @ u
    return torch.cat(o, 2).transpose(1, 2), S


@pytest.mark.parametrize("problem", [TINY, TINY.backward(final_state=True), DECODE])
def test_a_first_use_is_short_and_finds_what_is_wrong_or_hangs(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant = Variant.default("torch", problem)
    listed = len(first_use_cases(problem, BT=accuracy_gate.chunk_size(variant)))

    def checked(seconds: float) -> GateResult:
        return verify_first_use(problem, variant, device="cpu", seconds=seconds)

    monkeypatch.setattr(accuracy_gate, "_done", lambda device: lambda: True)
    in_time, late = checked(60.0), checked(0.0)
    assert (in_time.status, len(in_time.cases)) == ("ok", listed)
    assert (late.status, len(late.cases)) == ("ok", COMPILING)
    monkeypatch.setattr(accuracy_gate, "_done", lambda device: lambda: False)
    monkeypatch.setattr(accuracy_gate, "HANG_SECONDS", 0.01)
    hung = checked(60.0)
    assert hung.status == "timeout" and "have not finished after 0.01 s" in hung.message
    monkeypatch.setattr(accuracy_gate, "_done", lambda device: lambda: True)
    breaking(monkeypatch, lambda values: values[variant_output(problem)].mul_(1.01))
    assert checked(60.0).status == "wrong"


def variant_output(problem: Problem) -> str:
    return "dq" if problem.op == "backward" else "o"
