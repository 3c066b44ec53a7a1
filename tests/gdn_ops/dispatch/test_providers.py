"""Winners that are installed libraries: called, explained, passed over where they are missing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Provided, Variant
from gdn_ops.dispatch import bindings
from gdn_ops.dispatch.choice import Choice, choose, choosing_from
from gdn_ops.dispatch.device import target_of
from gdn_ops.dispatch.first_use import standing
from gdn_ops.dispatch.freezing import _toolchain
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.launch.call import Call
from gdn_ops.reference import recurrent_reference
from tests.gdn_ops.dispatch.test_choice import winner
from tests.gdn_ops.ops.calls import call
from tests.problems import FORWARD

VERSION = "5.23.0"
CPU = target_of(torch.device("cpu"))
LIBRARY = Provided.by("transformers", VERSION)


def rows(problem: Problem) -> WinnerTable:
    """A library as the winner of a problem, and a near winner of our own."""
    here = {"target": CPU.name, "arch": CPU.arch, "device": "CPU", "torch": torch.__version__}
    of_library = {"variant": LIBRARY.to_json(), "variant_id": LIBRARY.id}
    own = Variant.default("torch", problem)
    near = replace(problem, tokens=4 * problem.tokens)
    ours = {"variant": own.to_json(), "variant_id": own.id, "trial_id": 8}
    return WinnerTable((winner(problem, **here | of_library), winner(near, **here | ours)))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[Problem]:
    """Make a version of a library installed; returns the problems that it is called with."""
    adapter, called = ModuleType("adapter"), []

    def prepared(problem: Problem, given: Call) -> Any:
        called.append(problem)
        x = [getattr(given, name).detach() for name in ("q", "k", "v", "g", "beta")]
        o, ht = recurrent_reference(*x, scale=given.scale, initial_state=given.h0)
        return lambda: {"o": o, "ht": ht}

    adapter.load, adapter.prepared = (lambda: None), prepared  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gdn_ops.providers.transformers", adapter)
    monkeypatch.setattr("gdn_ops.providers.installed.version_of", lambda provider: VERSION)
    bindings.refresh()
    yield called
    bindings.refresh()


def test_a_call_runs_on_the_library_that_won_and_its_gradients_on_ours(
    installed: list[Problem],
) -> None:
    x = call(T=20)
    problem = gdn_ops.explain(**x).problem
    with choosing_from(rows(problem)):
        x["v"].requires_grad_()
        o, _ = gdn_ops.chunk_gated_delta_rule(**x)
        o.sum().backward()
        text = str(gdn_ops.explain(**x))
    assert [p.op for p in installed] == ["forward"]
    assert x["v"].grad is not None and x["v"].grad.abs().sum() > 0
    with gdn_ops.using("torch"):
        expected, _ = gdn_ops.chunk_gated_delta_rule(**x)
    torch.testing.assert_close(o, expected, rtol=1e-4, atol=1e-5)
    assert f"runs on  provider {LIBRARY.named}" in text
    assert "because  exact winner: row 7" in text


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (None, "transformers 5.23.0 is not installed here; `pip install transformers`"),
        ("5.24.0", "timed with transformers 5.23.0, and 5.24.0 is installed"),
    ],
)
def test_a_missing_or_another_release_is_passed_over(
    version: str | None, why: str, installed: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdn_ops.providers.installed.version_of", lambda provider: version)
    x = call(T=20)
    problem = gdn_ops.explain(**x).problem
    table = rows(problem)
    with choosing_from(table):
        gdn_ops.chunk_gated_delta_rule(**x)
        explanation = gdn_ops.explain(**x)
    assert not installed
    assert explanation.choice.how == "nearest" and explanation.choice.variant.plan == "torch"
    refused = explanation.choice.refused[0]
    assert (
        refused.candidate.startswith(f"exact winner {LIBRARY.named}") and why in refused.reasons[0]
    )
    assert "it was measured with transformers 5.23.0" in table.winners[0].stale


def test_where_a_provider_is_missing_our_own_best_of_the_same_problem_runs(
    installed: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rows(FORWARD)
    best = Variant.of("torch", FORWARD, {}, {"torch_chunk": {"BT": 16}})
    facts = {"variant": best.to_json(), "variant_id": best.id, "trial_id": 6, "median": 2e-3}
    own = replace(table.winners[0], **facts)
    table = replace(table, own=(own,))
    assert choose(FORWARD, CPU, table).variant == LIBRARY
    monkeypatch.setattr("gdn_ops.providers.installed.version_of", lambda provider: None)
    bindings.refresh()
    choice = choose(FORWARD, CPU, table)
    assert (choice.how, choice.variant, choice.winner) == ("exact", best, own)


def test_a_batch_invariant_call_runs_on_no_library(installed: list[Problem]) -> None:
    table = rows(FORWARD)
    assert choose(FORWARD, CPU, table).variant == LIBRARY
    found = choose(FORWARD, CPU, WinnerTable(table.winners[:1]), invariant=True)
    assert not found.variant.provider
    assert "may depend on the batch" in found.refused[0].reasons[0]


def test_a_library_is_verified_at_its_first_use_on_another_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path))
    h200 = target_named("h200")
    choice = Choice(FORWARD, h200, Provided.by("fla", "0.6.0"), "same arch", None, (), here=True)
    assert not standing(choice).sound


def test_frozen_choices_depend_on_the_installed_release(
    installed: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rows(FORWARD)
    before = _toolchain(table, CPU)
    assert before == _toolchain(table, CPU) != _toolchain(WinnerTable(()), CPU)
    monkeypatch.setattr("gdn_ops.providers.installed.version_of", lambda provider: "5.24.0")
    assert _toolchain(table, CPU) != before


def test_calls_import_no_provider_before_one_has_won(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gdn_ops.providers", "gdn_ops.providers.installed", "gdn_ops.codegen.providers"):
        monkeypatch.setitem(sys.modules, module, None)  # an import of it raises an error
    bindings.refresh()
    x = call(T=20)
    o, _ = gdn_ops.chunk_gated_delta_rule(**x)
    assert o.isfinite().all() and gdn_ops.explain(**x).choice.variant.plan == "torch"
    bindings.refresh()
