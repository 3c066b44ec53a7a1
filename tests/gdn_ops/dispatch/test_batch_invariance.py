"""``batch_invariant``: the results of a sequence do not depend on the other sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import gdn_ops
from gdn_ops.codegen.kernels.torch_decode import LARGE
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch import bindings
from gdn_ops.dispatch.choice import TYPICAL_SEQUENCES, choose
from gdn_ops.dispatch.device import target_of
from gdn_ops.dispatch.winner_table import WinnerTable
from tests.gdn_ops.dispatch.test_choice import winner
from tests.gdn_ops.ops.calls import call

CPU = torch.device("cpu")

PER_TOKEN = ("q", "k", "v", "g", "beta")
OTHER = 21  # tokens of the sequence packed in front
SIZES: dict[str, dict[str, Any]] = {
    "torch": {"T": 150, "K": 128, "V": 128, "dtype": torch.bfloat16},
    "split": {"T": 35, "K": 16, "V": 16, "dtype": torch.float16},
}


@pytest.fixture
def two_threads() -> Iterator[None]:
    """A product that two threads share may be cut by the size of the batch."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def ran(plan: str, arguments: dict[str, Any], t: slice, n: int, b: int = 0) -> list[Tensor]:
    """Return o, the final state and the gradients of q, v, g, beta of one sequence of a call."""
    leaves = {name: arguments[name].clone().requires_grad_() for name in PER_TOKEN}
    with gdn_ops.using(plan), gdn_ops.batch_invariant():
        o, ht = gdn_ops.chunk_gated_delta_rule(**(arguments | leaves))
        assert ht is not None
        torch.autograd.backward([o, ht], [o.detach(), ht.detach()])
    gradients = [x.grad for x in leaves.values()]
    return [o[b, t], ht[n], *(x[b, t] for x in gradients if x is not None)]


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("plan", SIZES)
def test_a_sequence_has_the_same_bits_alone_in_a_batch_and_packed(plan: str) -> None:
    alone = call(B=1, state=False, **SIZES[plan])
    T = alone["q"].shape[1]
    others = call(B=2, state=False, seed=1, **SIZES[plan])
    batch, packed = dict(alone), dict(alone)
    for name in PER_TOKEN:
        batch[name] = torch.cat([others[name][:1], alone[name], others[name][1:]])
        packed[name] = torch.cat([others[name][:1, :OTHER], alone[name], others[name][1:]], dim=1)
    packed["cu_seqlens"] = torch.tensor([0, OTHER, OTHER + T, OTHER + 2 * T])
    wanted = ran(plan, alone, slice(0, T), 0)
    for got in (
        ran(plan, batch, slice(0, T), 1, b=1),
        ran(plan, packed, slice(OTHER, OTHER + T), 1),
    ):
        assert len(got) == len(wanted) == 2 + len(PER_TOKEN)
        for x, y in zip(wanted, got, strict=True):
            assert torch.equal(x, y)


def test_one_winner_serves_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [call(B=1, T=T, state=False) for T in (20, 300)]
    problems = [gdn_ops.explain(**x).choice.problem for x in arguments]
    rows = tuple(
        winner(
            problem, target=target_of(CPU).name, arch=target_of(CPU).arch,
            variant=Variant.of("torch", problem, stages={"torch_chunk": {"BT": BT}}).to_json(),
        )
        for problem, BT in zip(problems, (16, 32), strict=True)
    )  # fmt: skip
    monkeypatch.setattr("gdn_ops.dispatch.choice.stored_winners", lambda target: WinnerTable(rows))
    gdn_ops.refresh()

    def used() -> list[Variant]:
        bindings.BOUND.clear()
        with torch.no_grad():
            for x in arguments:
                gdn_ops.chunk_gated_delta_rule(**x)
        return [launcher.variant for launcher in bindings.BOUND.values()]  # type: ignore[union-attr]

    try:
        first, second = used()
        assert first != second
        with gdn_ops.batch_invariant():
            assert used() == [second, second]
    finally:
        bindings.refresh()


def test_a_forced_plan_has_the_same_tiles_for_every_batch() -> None:
    heads: dict[str, Any] = {"H": 1, "HV": 2, "K": 16, "V": 32, "dtype": "fp32"}
    problems = [Problem(op="decode", tokens=B, sequences=B, **heads) for B in (1, 256)]

    def tiles() -> list[object]:
        with gdn_ops.using("recurrent"):
            variants = [bindings.choice_for(problem, CPU).variant for problem in problems]
        return [variant.config("recurrent")["BV"] for variant in variants]

    assert tiles() == [8, 16]
    with gdn_ops.batch_invariant():
        assert tiles() == [8, 8]


@pytest.mark.parametrize("stored", (False, True))
def test_a_default_that_depends_on_sizes_is_the_same_for_every_batch(stored: bool) -> None:
    HV = LARGE // (TYPICAL_SEQUENCES * 4 * 64 * 64)  # the typical batch has large states
    heads: dict[str, Any] = {"H": HV, "HV": HV, "K": 64, "V": 64, "dtype": "fp32"}
    problems = [
        Problem(op="decode", tokens=B, sequences=B, initial_state=True, **heads) for B in (1, 256)
    ]
    target = target_of(CPU)
    # a row of an older version, which knows no axis of the stage
    old = {"plan": "torch", "interface": {}, "stages": {"torch_recurrent": {}}}
    row = winner(problems[1].bucket(), target=target.name, arch=target.arch, variant=old)
    table = WinnerTable((row,) if stored else ())

    def reads(invariant: bool) -> list[object]:
        choices = [choose(problem, target, table, invariant=invariant) for problem in problems]
        assert all((choice.how == "fallback") is not stored for choice in choices)
        return [choice.variant.config("torch_decode")["reads"] for choice in choices]

    assert reads(invariant=False) == [2, 1]
    assert reads(invariant=True) == [1, 1]


def test_a_packed_decode_step_has_a_choice() -> None:
    problem = Problem(op="decode", H=1, HV=2, K=16, V=32, dtype="fp32", tokens=3, sequences=3)
    packed = replace(problem, varlen=True)
    with gdn_ops.batch_invariant():
        assert [name for name, _ in bindings.choice_for(packed, CPU).variant.stages] == [
            "torch_recurrent"
        ]


def test_the_mode_ends_with_its_block_and_combines_with_using() -> None:
    from gdn_ops.dispatch.mode import MODE

    with gdn_ops.batch_invariant(), gdn_ops.using("torch"):
        assert (MODE.get().forced, MODE.get().invariant) == ("torch", True)
    assert (MODE.get().forced, MODE.get().invariant) == (None, False)
