"""Frozen choices: ranks choose alike or raise, and what they compare says where they differ."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import gdn_ops
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch import bindings, first_use, freezing
from gdn_ops.dispatch.choice import choosing_from
from gdn_ops.dispatch.winners import load_winners
from gdn_ops.errors import InvalidInput, LaunchError
from tests.gdn_ops.dispatch.test_choice import winner
from tests.gdn_ops.dispatch.test_first_use import GPU, H200, Machine
from tests.gdn_ops.ops.calls import call
from tests.problems import DECODE, FORWARD
from tests.results import Bench
from tests.tuner.store.test_merge import win


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gdn_ops.unfreeze()
    gdn_ops.refresh()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine(monkeypatch, tmp_path)
    monkeypatch.setattr(freezing, "target_of", lambda device: H200)
    monkeypatch.setattr(freezing, "local_device", lambda device: GPU)
    monkeypatch.setattr(freezing, "stored_winners", made._table)
    first_use.forget()
    return made


def test_a_check_that_fails_raises_instead_of_stepping_on(machine: Machine) -> None:
    machine.verdicts(split="wrong")
    with gdn_ops.freeze(), pytest.raises(LaunchError) as caught:
        machine.same_process()
    text = str(caught.value)
    assert "variant split " in text and "wrong: error 0.3" in text
    assert "gdn_ops.unfreeze() in all of them, run `gdn verify` on every machine" in text
    assert machine.checked == ["split"], "no next choice was tried"
    found, _ = machine.same_process()
    assert found.variant.plan == "fused", "not frozen any more"


def test_what_failed_before_is_passed_over_and_shows_in_the_digest(machine: Machine) -> None:
    sound = gdn_ops.freeze()
    gdn_ops.unfreeze()
    machine.verdicts(split="wrong")
    machine.run()
    first_use.forget()
    with gdn_ops.freeze() as failed:
        found, warned = machine.same_process()
        assert (found.variant.plan, warned) == ("fused", [])
    assert failed.differences(sound) == ["failed checks"]
    machine.tools(ptxas="13.0")  # nothing has failed with this one
    with gdn_ops.freeze() as other:
        assert other == sound


def test_what_another_process_finds_later_raises_too(machine: Machine) -> None:
    machine.verdicts(split="wrong")
    machine.run()
    found = machine.file.read_text()
    machine.file.unlink()
    first_use.forget()
    gdn_ops.freeze()
    machine.file.write_text(found)
    machine.checked.clear()
    with pytest.raises(LaunchError, match="variant split "):
        machine.same_process()
    assert machine.checked == []


def test_winners_are_those_of_then(machine: Machine) -> None:
    machine.winners = (winner(FORWARD),)
    gdn_ops.freeze()
    machine.winners = (winner(FORWARD, variant=Variant.of("split", FORWARD, {"BT": 16}).to_json()),)
    found, _ = machine.same_process()
    assert dict(found.variant.interface)["BT"] == 32
    for again, message in ((gdn_ops.refresh, "before refresh"), (gdn_ops.freeze, "frozen already")):
        with pytest.raises(InvalidInput, match=message):
            again()
    gdn_ops.unfreeze()
    found, _ = machine.same_process()
    assert dict(found.variant.interface)["BT"] == 16


def test_the_first_call_of_a_bucket_does_not_decide(machine: Machine) -> None:
    bucket = replace(FORWARD, tokens=4096, sequences=4, K=64)
    ragged = replace(bucket, tokens=3300, sequences=3)
    assert ragged.bucket() == bucket.bucket()
    SEG = next(n for n in (4, 8, 16, 32) if _segments(bucket, n) != _segments(ragged, n))
    variant = Variant.of("segmented", bucket, {"BT": 64, "SEG": SEG})
    machine.winners = (winner(bucket, variant=variant.to_json()),)
    plans = [machine.same_process(each)[0].variant.plan for each in (bucket, ragged)]
    assert plans[0] != plans[1]
    with gdn_ops.freeze():
        plans = [machine.same_process(each)[0].variant.plan for each in (bucket, ragged)]
    assert plans[0] == plans[1]


def _segments(problem: Any, SEG: int) -> bool:
    variant = Variant.of("segmented", problem, {"BT": 64, "SEG": SEG})
    return not variant.reasons(problem, H200)


def test_equal_rows_give_equal_digests_in_any_order(tmp_path: Path) -> None:
    first = Bench(tmp_path / "first.db")
    win(first, FORWARD, median=2e-3)
    win(first, DECODE, median=1e-3)
    second = Bench(tmp_path / "second.db")
    first.close()
    one = load_winners([tmp_path / "first.db"])
    second.store.merge(tmp_path / "first.db")
    other = load_winners([tmp_path / "second.db"])
    turned = replace(other, winners=other.winners[::-1])
    frozen = []
    for table in (one, other, turned):
        with choosing_from(table), gdn_ops.freeze("cpu") as found:
            frozen.append(pickle.loads(pickle.dumps(found)))
    assert frozen[0] == frozen[1] == frozen[2]
    win(second, DECODE, median=9e-4)
    with choosing_from(load_winners([second.close()])), gdn_ops.freeze("cpu") as found:
        assert found != frozen[0] and found.digest != frozen[0].digest
        assert found.differences(frozen[0]) == ["winners"]


def test_made_choices_and_their_launchers_are_kept(machine: Machine) -> None:
    cpu = torch.device("cpu")
    arguments = call()
    before = gdn_ops.chunk_gated_delta_rule(**arguments)
    launchers = dict(bindings._LAUNCHERS)
    assert launchers
    with gdn_ops.freeze("cpu"):
        after = gdn_ops.chunk_gated_delta_rule(**arguments)
        assert dict(bindings._LAUNCHERS) == launchers, "nothing was bound or compiled again"
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    # one that would be another today is made again: it may be of a file that was read since
    key = next(key for key in launchers if key[1] == cpu)
    bindings._LAUNCHERS[key] = bindings.bind(key[0], Variant.default("recurrent", key[0]))
    with gdn_ops.freeze("cpu"):
        gdn_ops.chunk_gated_delta_rule(**arguments)
        assert bindings._LAUNCHERS[key].variant == launchers[key].variant


RANK = """
import sys, torch.distributed
import gdn_ops
torch.distributed.init_process_group(
    "gloo", init_method="file://" + sys.argv[1], rank=int(sys.argv[2]), world_size=2
)
frozen = gdn_ops.freeze()
others = [None] * torch.distributed.get_world_size()
torch.distributed.all_gather_object(others, frozen)
print([frozen.differences(other) for other in others])
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("same", [True, False])
def test_ranks_compare_what_they_froze(tmp_path: Path, same: bool) -> None:
    bench = Bench(tmp_path / "results.db")
    win(bench, FORWARD)
    path = bench.close()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(RANK), str(tmp_path / "meet"), str(rank)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3],
            env=os.environ | {"GDN_RESULTS_DB": str(path if same or rank else tmp_path / "no")},
        )
        for rank in range(2)
    ]  # fmt: skip
    found = [json.loads(rank.communicate()[0].replace("'", '"')) for rank in ranks]
    there: list[str] = [] if same else ["winners"]
    assert found == [[[], there], [there, []]]
