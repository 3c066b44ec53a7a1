"""The loader launches what gdn_ops' own launcher launches, with the same arguments."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.formats import cubin
from gdn_ops.tuner.spaces.workloads import decode, pool, prefill, training
from tests.tuner.export.cubins import conftest as few
from tests.tuner.export.cubins.abi import assert_same_launches, manifest_of
from tests.tuner.export.cubins.loader import COMPILER
from tests.tuner.export.cubins.recording import call_of, pool_call_of


@pytest.mark.triton
def test_packed_sequences(exported: few.Exported) -> None:
    """One is empty, and tokens follow the last one."""
    offsets = [0, 70, 70, 198, 201]
    call = call_of(few.PACKED, 1, 210, offsets)
    winner = exported.winners[few.PACKED.id()]
    assert_same_launches(exported.loader, exported.device, exported.folder, winner, call, offsets)


@pytest.mark.triton
@pytest.mark.parametrize("B", [1, 9])
def test_decode(exported: few.Exported, B: int) -> None:
    winner = exported.winners[few.DECODE.id()]
    call = call_of(few.DECODE, B, 1)
    assert_same_launches(exported.loader, exported.device, exported.folder, winner, call)


@pytest.mark.triton
def test_a_pool(exported: few.Exported) -> None:
    """q, k and v are parts of one tensor, so their tokens are far apart."""
    offsets = [0, 4, 5, 8]
    call = pool_call_of(few.VERIFY, 3, 8, offsets)
    winner = exported.winners[few.VERIFY.id()]
    assert_same_launches(exported.loader, exported.device, exported.folder, winner, call, offsets)


SHAPE = {"H": 2, "HV": 4, "K": 64, "V": 64}
EQUAL_HEADS = SHAPE | {"HV": 2}
K_FIRST = {"state_v_first": False, "gate_in_kernel": False, "dt_bias": False}
WINNERS = [
    (prefill(tokens=512, **SHAPE), "split"),
    (prefill(tokens=512, sequences=4, rule=Rule("vector"), **few.RAW, **SHAPE), "split"),
    (prefill(tokens=512, rule=Rule("none"), dtype="fp16", **SHAPE), "fused1"),
    (prefill(tokens=8192, **SHAPE), "segmented"),
    (prefill(tokens=8192, sequences=2, varlen=True, **SHAPE), "segmented"),
    (prefill(tokens=512, sequences=4, varlen=True, **SHAPE), "recurrent"),
    (training(tokens=2048, **EQUAL_HEADS), "split"),
    (training(tokens=2048, sequences=4, varlen=True, **EQUAL_HEADS), "fused"),
    (training(tokens=8192, initial_state=True, **EQUAL_HEADS), "segmented"),
    (pool(sequences=8, final_state=False, state_dtype="fp32", **SHAPE), "recurrent"),
    (pool(sequences=8, **K_FIRST, **SHAPE), "recurrent"),
    (decode(sequences=8, dtype="fp32", rule=Rule("scalar", False), **SHAPE), "recurrent"),
]


@pytest.mark.exhaustive
def test_every_plan(tmp_path: Path) -> None:
    if COMPILER is None:
        pytest.skip("this machine has no C compiler (cc, gcc or clang)")
    rows = [(p.bucket(), Variant.default(plan, p.bucket()), True) for p, plan in WINNERS]
    folder, left_out = few.export(tmp_path, few.stored(tmp_path, rows))
    assert cubin.faults(folder / "cubin.manifest.json") == left_out == []
    assert len(manifest_of(folder)["sets"]) == len(WINNERS)
    found = few.opened(tmp_path, folder)
    for (problem, variant, _), T in product(rows, (1, 64, 65, 1100)):
        offsets = [0, 3, 3, T + 3] if problem.varlen else None
        if problem.op == "pool":
            call = pool_call_of(problem, 3, T, offsets)
        elif problem.op == "decode":
            call = call_of(problem, 3, 1)
        else:
            B, length = (1, T + 4) if problem.varlen else (3, T)
            call = call_of(problem, B, length, offsets)
        winner = problem, variant
        assert_same_launches(found.loader, found.device, folder, winner, call, offsets)
    found.loader.close()


@pytest.mark.exhaustive
def test_two_exports_are_the_same(tmp_path: Path) -> None:
    """Each compiles for itself, from sources in another folder; of another architecture, too."""
    problem = WINNERS[0][0].bucket()
    rows = [(problem, Variant.default("split", problem), True)]
    database = few.stored(tmp_path, rows, "a100", "sm_80")
    one, other = (few.export(tmp_path / n, database)[0] for n in ("one", "another"))
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {
        p.name: p.read_bytes() for p in other.iterdir()
    }
    found = few.opened(tmp_path, one, (8, 6))  # sm_80 runs on later devices of its generation
    call = call_of(problem, 2, 130)
    assert_same_launches(found.loader, found.device, one, rows[0][:2], call)
    found.loader.close()
