"""The gradients of plan recurrent, walked token by token, against the recurrence's in fp64."""

from __future__ import annotations

import ast
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.plans.recurrent import SLICE
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from tests.close import assert_close
from tests.codegen.kernels.split_case import SplitCase
from tests.codegen.kernels.walk_case import check, expected, gradients, inputs_of, problem_of
from tests.sampling import every_second

CASE = SplitCase(T=7)
PACKED = CASE.with_(B=1, T=10, offsets=(0, 0, 3, 3, 9, 9), K=20, V=36)
PROBLEM = Problem(
    op="backward", H=2, HV=4, K=128, V=128, dtype="bf16", tokens=64, sequences=2,
    initial_state=True, final_state=True,
)  # fmt: skip
H200 = target_named("h200")
KINDS = [{"gate": "none"}, {"gate": "model"}, {"gate": "model", "vector": True}]
pytestmark = pytest.mark.filterwarnings("error")  # an exp that overflows, even if masked later


@pytest.mark.parametrize("width", SLICE.values)
@pytest.mark.parametrize("prefetch", [0, 1])
def test_slices_of_the_value_channels(prefetch: int, width: int, tmp_path: Path) -> None:
    case = CASE.with_(K=100, V=60, B=1, vector=width == 16)
    check(case, tmp_path, width=width, prefetch=prefetch)


@pytest.mark.triton
@pytest.mark.parametrize(("kind", "delta", "width"), every_second(KINDS, [True, False], [16, 64]))
def test_16_bit_in_every_shape_of_the_code(
    kind: dict[str, object], delta: bool, width: int, tmp_path: Path
) -> None:
    heads, dtype = (2, "bf16") if width == 64 else (1, "fp16")
    check(PACKED.with_(dtype=dtype, delta=delta, H=heads, **kind), tmp_path, width=width)


@pytest.mark.parametrize(("K", "V"), [(1, 1), (60, 100), (256, 256)])
def test_head_dims(K: int, V: int, tmp_path: Path) -> None:
    check(CASE.with_(K=K, V=V, B=1, T=3, vector=V == 100), tmp_path, width=128)


@pytest.mark.parametrize(
    ("gate", "vector", "delta"),
    every_second(["zero", "strong", "wild"], [True, False], [True, False]),
)
def test_gates(gate: str, vector: bool, delta: bool, tmp_path: Path) -> None:
    check(CASE.with_(gate=gate, delta=delta, vector=vector, T=12, B=1), tmp_path)


@pytest.mark.parametrize(
    ("delta", "vector", "dt_bias"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, True)],
)
def test_raw_gates_reach_what_they_are_made_of(
    delta: bool, vector: bool, dt_bias: bool, tmp_path: Path
) -> None:
    case = PACKED.with_(delta=delta, vector=vector)
    check(case, tmp_path, raw=True, dt_bias=dt_bias, width=32)


@pytest.mark.parametrize("vector", [True, False])
def test_rounding_of_what_is_forgotten_is_forgotten(vector: bool, tmp_path: Path) -> None:
    case = CASE.with_(B=1, T=12, vector=vector)
    problem = problem_of(case)
    x = inputs_of(case, problem)
    x["do"][:, :6] *= 2.0**20
    x["g"][:, 6] = -50.0
    got, reference = gradients(case, problem, x, tmp_path, 64), expected(case, problem, x)
    for tokens in (slice(0, 6), slice(7, 12)):
        assert_close("dg", reference["dg"][:, tokens], got["dg"][:, tokens], 1e-4)


@pytest.mark.parametrize(("H", "HV"), [(1, 3), (2, 4), (2, 2)])
def test_value_heads_share_a_query_head(H: int, HV: int, tmp_path: Path) -> None:
    check(CASE.with_(H=H, HV=HV, B=2), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("states", [(False, False), (True, False), (False, True)])
def test_states_that_are_not_there(
    states: tuple[bool, bool], kind: dict[str, object], tmp_path: Path
) -> None:
    initial, final = states
    case = CASE.with_(initial_state=initial, final_state=final, delta=initial == final, **kind)
    check(case.with_(B=1, T=10, offsets=(0, 3, 3, 9)), tmp_path)
    check(case.with_(B=3, T=1), tmp_path)


def test_an_empty_sequence_hands_its_gradient_on(tmp_path: Path) -> None:
    dht = inputs_of(PACKED, problem_of(PACKED))["dht"].float()
    dh0 = check(PACKED, tmp_path)["dh0"]
    for n in (0, 2, 4):
        assert torch.equal(dh0[n], dht[n])


def test_what_changes_nothing_is_refused() -> None:
    def reasons(problem: Problem, width: int, **axes: object) -> list[str]:
        stages = [f"recurrent_bwd_{name}" for name in ("v_old", "dv", "dqk") if axes]
        walks = dict.fromkeys(stages, axes)
        return Variant.of("recurrent", problem, {"slice": width}, walks).reasons(problem, H200)

    assert reasons(PROBLEM, 64) == reasons(PROBLEM, 128, num_warps=8) == []
    assert "slice=256" in reasons(PROBLEM, 256)[0]
    assert "slice=32" in reasons(replace(PROBLEM, V=16), 32)[0]
    assert "op forward" in reasons(replace(PROBLEM, op="forward"), 32)[0]
    assert "registers" in reasons(PROBLEM, 128, num_warps=1)[0]
    vector = Rule("vector")
    assert reasons(replace(PROBLEM, rule=vector), 64) == []
    assert "not vector-delta" in reasons(replace(PROBLEM, op="pool", rule=vector), 64)[0]


RULES = [Rule(gate, delta) for gate in ("none", "scalar", "vector") for delta in (True, False)]


@pytest.mark.parametrize("rule", RULES)
def test_rendered_files_look_written_by_hand(rule: Rule) -> None:
    raw = rule.gate != "none"
    plain = replace(PROBLEM, H=4, dtype="fp32", initial_state=False, final_state=False)
    problems = (
        PROBLEM,
        plain,
        replace(PROBLEM, K=60, V=60, varlen=True, gate_in_kernel=raw, dt_bias=raw),
    )
    for problem, width in product(problems, (16, 128)):
        problem = replace(problem, rule=rule)
        variant = Variant.of("recurrent", problem, {"slice": width})
        for spec in PLANS["recurrent"].specs(problem):
            source = render(spec, problem, variant.config(spec.name))
            tree = ast.parse(source)
            names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
            read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
            given = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
            assert {n.id for n in names if isinstance(n.ctx, ast.Store)} | given <= read
            assert max(map(len, source.splitlines())) <= 100
            assert "\n\n\n\n" not in source and source.endswith("\n")
