"""First use: what was never verified on a GPU is verified, once, and what fails is passed over.

The checks themselves are made up (``fake_worker``); ``tests/gpu/test_first_call.py`` makes real
ones.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import gdn_ops
from gdn_ops import warming
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.source_hash import source_hashes
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch import bindings, choice, first_use
from gdn_ops.dispatch.choice import Choice
from gdn_ops.dispatch.mode import mode_of
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.errors import InvalidInput, LaunchError
from gdn_ops.integrations.refusal import Refusals
from gdn_ops.results_path import shipped_database
from gdn_ops.verify import first_use as checks
from gdn_ops.verify import verification
from tests.gdn_ops.dispatch.test_choice import winner
from tests.gdn_ops.ops.calls import call
from tests.problems import FORWARD

GPU = torch.device("cuda", 0)
H200 = target_named("h200")
TOOLS = {"driver": "590.1", "triton": "3.7.1", "ptxas": "12.9.86"}


class Machine:
    """A machine with an H200 that nothing was verified on."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self._patch, self.log = patch, folder / "log"
        self.folder = folder / "cache"
        self.file = self.folder / "verified.jsonl"
        self.winners: tuple[Winner, ...] = ()
        patch.setenv("FAKE_LOG", str(self.log))
        patch.setenv("GDN_CACHE_DIR", str(self.folder))
        patch.delenv("GDN_VERIFY", raising=False)
        patch.setattr(checks, "WORKER", "tests.gdn_ops.verify.fake_worker")
        patch.setattr(checks, "seen_device", str)
        patch.setattr(bindings, "target_of", lambda device: H200)
        patch.setattr(choice, "stored_winners", self._table)
        patch.setattr(first_use, "refuse_capture", lambda device, what: None)
        self.verdicts()
        self.tools()

    def _table(self, target: Target) -> WinnerTable:
        return WinnerTable(self.winners)

    def verdicts(self, **verdicts: str) -> None:
        """Say how the check of each plan ends; those that are not named are right."""
        self._patch.setenv("FAKE_VERDICTS", json.dumps(verdicts))

    def tools(self, **change: str) -> None:
        """Install other versions."""
        for name, version in (TOOLS | change).items():
            told = (lambda arch, v=version: v) if name == "ptxas" else (lambda v=version: v)
            self._patch.setattr(verification, f"{name}_version", told)

    def run(self, problem: Problem = FORWARD) -> tuple[Choice, list[str]]:
        """The choice for a call in a new process, and the warnings."""
        first_use.forget()
        return self.same_process(problem)

    def same_process(self, problem: Problem = FORWARD) -> tuple[Choice, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            (found,) = bindings.sound_choices_for([problem], GPU)
        return found, [str(warning.message) for warning in caught]

    @property
    def checked(self) -> list[str]:
        """The plans that were checked since this was last asked for."""
        found = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines() if line]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    yield Machine(monkeypatch, tmp_path)
    first_use.forget()


def test_a_default_is_verified_once_per_machine_and_toolchain(machine: Machine) -> None:
    for tools, checked in (({}, ["split"]), ({}, []), ({"ptxas": "13.0"}, ["split"])):
        machine.tools(**tools)
        found, warned = machine.run()
        assert (found.how, found.variant.plan, warned) == ("default", "split", [])
        assert machine.checked == checked
    machine.run(replace(FORWARD, tokens=4096, sequences=1))
    assert machine.checked == [], "kernels do not depend on sizes"
    machine.run(replace(FORWARD, HV=8))
    assert machine.checked == ["split"]
    text = first_use.standing(found).text
    assert text.startswith("verified 20") and "h200 (sm_90), driver 590.1, Triton 3.7.1" in text


def test_what_is_wrong_hangs_or_crashes_is_named_kept_and_passed_over(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "CHECK_SECONDS", 1.0)
    machine.verdicts(split="wrong", fused="silent", fused1="crash")
    found, warned = machine.run()
    assert (found.how, found.variant.plan) == ("default", "recurrent")
    assert machine.checked == ["split", "fused", "fused1", "recurrent"]
    assert len(warned) == 3
    for text, plan, status in zip(
        warned,
        ("split", "fused", "fused1"),
        ("wrong: error 0.3", "timeout:", "crash:"),
        strict=True,
    ):
        assert f"variant {plan} " in text and status in text and "passed over on cuda:0" in text
    kept = [(record["status"], record["text"].split()[0]) for record in machine.records()]
    assert kept == [
        ("wrong", "split"), ("timeout", "fused"), ("crash", "fused1"), ("ok", "recurrent"),
    ]  # fmt: skip

    again, warned = machine.run()
    assert (again.variant, warned, machine.checked) == (found.variant, [], [])
    reasons = {refusal.candidate: refusal.reasons[0] for refusal in again.refused}
    assert "its check failed 20" in reasons["plan split"]
    assert "wrong: error 0.3 of o" in reasons["plan split"]


def test_after_a_kernel_that_hangs_the_next_one_has_a_process_of_its_own(machine: Machine) -> None:
    machine.verdicts(split="hang")

    def both() -> list[Choice]:
        problems = (FORWARD, replace(FORWARD, op="decode", initial_state=True))
        return [bindings.choice_for(problem, GPU) for problem in problems]

    with pytest.warns(RuntimeWarning, match="timeout: error 0.3") as caught:
        found = first_use.sound_choices(both, GPU)
    assert len(caught) == 1
    assert [choice.variant.plan for choice in found] == ["fused", "recurrent"]
    assert machine.checked == ["split", "recurrent", "fused"]


def test_a_wrong_winner_leads_to_the_next_one(machine: Machine) -> None:
    other = Variant.default("fused", FORWARD).to_json()
    machine.winners = (winner(FORWARD), winner(FORWARD, target="h100", variant=other))
    machine.verdicts(split="nondeterministic")
    found, warned = machine.run()
    assert (found.how, found.variant.plan) == ("same arch", "fused")
    assert "nondeterministic" in warned[0]


def test_a_winner_that_is_wrong_here_gives_the_call_back_to_another_library(
    machine: Machine,
) -> None:
    given = call(T=20, state=False)
    problem = gdn_ops.explain(**given).choice.problem
    machine.winners = (winner(problem),)
    machine.verdicts(split="wrong")
    refusals = Refusals(gdn_ops.chunk_gated_delta_rule)
    assert refusals.reason(given) is None
    machine.same_process(problem)
    assert "no tuned kernel" in str(refusals.reason(given))


def test_a_shipped_prediction_takes_no_calls_from_another_library(machine: Machine) -> None:
    given = call(T=20, state=False)
    problem = gdn_ops.explain(**given).choice.problem
    own = winner(problem, provenance="predicted")
    refusals = Refusals(gdn_ops.chunk_gated_delta_rule)
    for database, taken in ((shipped_database(), False), (own.database, True)):
        machine.winners = (replace(own, database=database),)
        bindings.refresh()
        reason = refusals.reason(given)
        assert reason is None if taken else "no tuned kernel" in str(reason)


@pytest.mark.parametrize("fault", ["memory", "device"])
def test_what_cannot_be_checked_now_is_not_trusted_and_checked_later(
    machine: Machine, fault: str
) -> None:
    plans = ("split", "fused", "fused1", "recurrent")
    machine.verdicts(**dict.fromkeys(plans, "memory") if fault == "memory" else {"device": ""})
    found, warned = machine.run()
    assert (found.how, found.variant.plan) == ("fallback", "torch")
    assert len(warned) == 4
    assert all("GDN_VERIFY=never" in text for text in warned)
    assert machine.checked == (list(plans) if fault == "memory" else [])
    assert machine.same_process() == (found, []), "not asked again by this process"
    assert not machine.file.exists()
    machine.verdicts()
    assert machine.run()[0].variant.plan == "split"


def test_without_a_writable_folder_each_process_verifies_and_says_so_once(
    machine: Machine,
) -> None:
    machine.folder.write_text("a file where the folder should be")
    found, warned = machine.run()
    assert found.variant.plan == "split"
    (text,) = warned
    assert "cannot be written" in text and "GDN_CACHE_DIR" in text
    assert machine.same_process() == (found, [])
    assert machine.checked == ["split"]


def _in_a_process(machine: Machine, results: Any) -> None:
    found, warned = machine.run()
    results.put((found.variant.plan, len(warned)))


def test_of_eight_processes_one_verifies(machine: Machine) -> None:
    machine.verdicts(split="slow")
    fork: Any = multiprocessing.get_context("fork")
    results = fork.Queue()
    processes = [fork.Process(target=_in_a_process, args=(machine, results)) for _ in range(8)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [("split", 0)] * 8
    for process in processes:
        process.join()
    assert machine.checked == ["split"]


def test_the_variable_says_when(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.verdicts(split="wrong")
    monkeypatch.setenv("GDN_VERIFY", "never")
    found, warned = machine.run()
    assert (found.variant.plan, warned, machine.checked) == ("split", [], [])
    assert "GDN_VERIFY is never" in first_use.standing(found).text
    machine.verdicts()
    monkeypatch.setenv("GDN_VERIFY", "always")
    for _ in range(2):
        machine.run()
        machine.same_process()
        assert machine.checked == ["split"]
    monkeypatch.setenv("GDN_VERIFY", "often")
    with pytest.raises(InvalidInput, match="GDN_VERIFY is 'often'; set it to first, always, never"):
        machine.run()


def test_always_checks_again_what_had_failed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.verdicts(split="wrong")
    assert machine.run()[0].variant.plan == "fused"
    machine.verdicts()
    monkeypatch.setenv("GDN_VERIFY", "always")
    assert machine.run()[0].variant.plan == "split"
    monkeypatch.delenv("GDN_VERIFY")
    assert machine.run()[0].variant.plan == "split", "the later line counts"


def test_warmup_verifies(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "local_device", lambda device: GPU)
    for name in ("launcher_for", "_run"):
        monkeypatch.setattr(warming, name, lambda *_: None)
    problems = [FORWARD, FORWARD.backward(final_state=False)]
    assert [c.how for c in warming.warmup(problems, "cuda")] == ["default"] * 2
    assert machine.checked == ["split", "split"]


def test_a_forced_variant_is_not_verified(machine: Machine) -> None:
    machine.verdicts(split="wrong")
    with gdn_ops.using("split"):
        found, _ = machine.run()
    assert (found.how, machine.checked) == ("forced", [])
    assert "gdn_ops.using" in first_use.standing(found).text


@pytest.mark.parametrize(
    ("change", "checked"),
    [
        ({}, []),
        ({"driver": "591.0"}, ["split"]),
        ({"ptxas": "13.0"}, ["split"]),
        ({"sources": {}}, ["split"]),
        ({"target": "h100"}, ["split"]),
    ],
)
def test_what_the_tuner_measured_here_counts_as_verified(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], checked: list[str]
) -> None:
    monkeypatch.setattr("gdn_ops.dispatch.staleness.ptxas_version", lambda arch: "12.9.86")
    tuned = FORWARD.bucket()
    sources = source_hashes(tuned, Variant.of("split", tuned, {"BT": 32}))
    machine.winners = (winner(FORWARD, **({"sources": sources} | TOOLS | change)),)
    found, _ = machine.run()
    assert (found.winner, machine.checked) == (machine.winners[0], checked)
    if not checked:
        assert "by the tuner on h200 (sm_90)" in first_use.standing(found).text
        machine.run(replace(FORWARD, final_state=False))
        assert machine.checked == [], "the gate runs the kernels with other states, too"
        machine.run(replace(FORWARD, varlen=True))
        assert machine.checked == ["split"]


def test_a_forward_that_saves_for_its_backward_is_verified_too(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bindings, "refuse_capture", lambda device, what: None)
    problem = replace(FORWARD, final_state=False)
    backward = problem.backward(final_state=False)
    wide = Variant.of("split", backward, {"BT": 64}).to_json()
    machine.winners = (winner(problem), winner(backward, variant=wide))
    mode = mode_of(None, False, "states")
    bound = bindings._differentiable(problem, GPU, mode)
    assert dict(bound.forward.variant.interface)["BT"] == 64, "that of the backward"
    assert "h" in bound.names and machine.checked == ["split"] * 3
    bindings.refresh()
    machine.file.unlink()
    machine.verdicts(**{"forward split 64": "wrong"})
    with pytest.warns(RuntimeWarning, match="split.* of forward-.* is passed over"):
        bound = bindings._differentiable(problem, GPU, mode)
    assert dict(bound.forward.variant.interface)["BT"] == 32
    assert bound.names == ()
    bindings.refresh()


def test_nothing_is_verified_in_a_capture(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(device: torch.device, what: str) -> None:
        raise LaunchError(f"{what} is not possible")

    monkeypatch.setattr(first_use, "refuse_capture", refuse)
    with pytest.raises(LaunchError, match="verifying a variant before its first use"):
        machine.run()
    assert machine.checked == []
    monkeypatch.setattr(first_use, "refuse_capture", lambda device, what: None)
    machine.run()
    monkeypatch.setattr(first_use, "refuse_capture", refuse)
    assert machine.run()[0].variant.plan == "split", "what is verified may be chosen in one"


def test_nothing_is_verified_while_a_function_is_traced(machine: Machine) -> None:
    with FakeTensorMode() as fake:
        given = {
            n: fake.from_tensor(x) if isinstance(x, torch.Tensor) else x
            for n, x in call(T=20).items()
        }
        o, _ = gdn_ops.chunk_gated_delta_rule(**given)
    assert o.shape == given["v"].shape and machine.checked == []


def test_damaged_lines_are_left_alone(machine: Machine) -> None:
    machine.run()
    good = machine.file.read_text().strip()
    damaged = (
        good[: len(good) // 2],
        good.replace('"ok"', '"fine"'),
        good.replace('"created"', '"creation"'),
        good.replace('"errors": {', '"errors": 3, "x": {'),
        "[" * 100_000,
        "null",
    )
    assert [verification.Verification.from_json(line) for line in damaged] == [None] * 6
    machine.file.write_bytes("\n".join(damaged).encode() + b"\xff\xfe")
    assert machine.checked == ["split"]
    machine.run()
    assert machine.checked == ["split"], "half a line does not spoil the one that was added"
    machine.run()
    assert machine.checked == []


def test_a_pipe_or_a_huge_file_is_not_read(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.folder.mkdir()
    os.mkfifo(machine.file)
    found, warned = machine.run()
    assert found.variant.plan == "split" and "it is not a file" in warned[0]
    machine.file.unlink()
    machine.run()
    assert machine.checked == ["split", "split"]
    monkeypatch.setattr("gdn_ops.verify.verified_file.MOST_BYTES", 10)
    machine.run()
    assert machine.checked == ["split"]
