"""The comparison: its grids, its measuring, and what its tables say of losses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.compare import __main__ as command
from bench.compare.accuracy import errors, reference_of
from bench.compare.cases import GRIDS, Case, cut
from bench.compare.contender import Contender
from bench.compare.inputs import input_sets, inputs_of
from bench.compare.measuring import Pace, measure
from bench.compare.ours import KEEPING, keeping_inverse, ours
from bench.compare.peers import PEERS
from bench.compare.plot import write_plot
from bench.compare.report import markdown
from bench.compare.roofline import roofline
from bench.published import published
from gdn_ops import using
from gdn_ops.codegen.targets import target_named
from tests.bench.odd_peers import contender, doubling

CPU = torch.device("cpu")
TINY = {case.op: case for case in GRIDS["tiny"]()}


def test_the_grids_are_those_of_flash_qla() -> None:
    assert len(list(GRIDS["forward"]())) == 171
    assert len(list(GRIDS["backward"]())) == 32
    # drawn as its benchmark draws them: torch.randperm of seed 42
    assert cut(8192, 2) == (7053, 1139)
    assert all(min(case.lengths) > 0 for grid in GRIDS.values() for case in grid())


@pytest.mark.parametrize("op", ["forward", "backward", "decode"])
def test_ours_and_transformers_compute_the_same_case(op: str) -> None:
    case = TINY[op] if op != "forward" else replace(TINY[op], sequences="40", lengths=(40,))
    x = inputs_of(case, CPU)
    reference = reference_of(case, x)
    with torch.no_grad():
        for contender in (ours(), PEERS["transformers"]):
            assert contender.refuses(case, CPU) == ""
            found = errors(contender.bind(case, x)(), reference)
            assert found.keys() == reference.keys()
            assert max(found.values()) < 1e-5


def test_a_failing_peer_costs_only_its_own_row() -> None:
    def broken(case: Case, x: object) -> object:
        raise RuntimeError("no such kernel")

    peer = Contender("broken", "", "x", "", lambda case, device: "", broken)  # type: ignore[arg-type]
    case = TINY["decode"]
    answer = measure(case, [ours(), peer], device=CPU, threads=1, pace=Pace(rounds=5, seconds=0.05))
    own = answer["contenders"]["ours"]["times"]["cpu-eager"]
    assert len(own["samples"]) >= 5 and own["low"] <= own["median"] <= own["high"]
    assert answer["contenders"]["broken"]["failed"] == "RuntimeError: no such kernel"


def test_sets_of_packed_inputs_share_what_libraries_know_them_by() -> None:
    case = next(case for case in GRIDS["tiny"]() if case.packed)
    first = inputs_of(case, CPU)
    sets = input_sets(case, CPU, first, 3)
    assert sets[0] is first and all(x.cu_seqlens is first.cu_seqlens for x in sets)
    assert len({float(x.v.sum()) for x in sets}) == 3


def test_what_a_call_does_not_read_is_no_part_of_its_inputs() -> None:
    case = TINY["forward"]
    x = inputs_of(case, CPU)
    read = 40 * (2 * 16 + 2 * 16 + 2 * 2) * 4 + x.h0.nbytes
    assert x.bytes("forward") == read
    assert x.bytes("backward") == read + x.do.nbytes + x.dht.nbytes


def test_gradients_from_a_kept_inverse_are_right() -> None:
    case = TINY["backward"]
    x, kept = inputs_of(case, CPU), keeping_inverse()
    assert kept.name == KEEPING and "plan torch" in kept.refuses(case, CPU)
    assert kept.refuses(TINY["forward"], CPU) == "it is the same as ours"
    with using("split"), torch.no_grad():
        assert kept.refuses(case, CPU) == ""
        found = errors(kept.bind(case, x)(), reference_of(case, x))
    assert max(found.values()) < 1e-4


def test_the_last_heads_are_those_that_are_checked() -> None:
    case = replace(TINY["forward"], H=2, HV=4)
    x = inputs_of(case, CPU)
    reference = reference_of(case, x)
    assert reference["o"].shape[2] == reference["ht"].shape[1] == 2
    right = ours().bind(case, x)()
    assert max(errors(right, reference).values()) < 1e-5
    for name, heads in (("o", 2), ("ht", 1)):
        first, last = (right[name].clone() for _ in range(2))
        first.select(heads, 0).zero_()
        last.select(heads, 3).zero_()
        assert errors({**right, name: first}, reference)[name] < 1e-5
        assert errors({**right, name: last}, reference)[name] > 0.1


def test_a_wrong_output_has_no_time() -> None:
    case = TINY["decode"]
    peers = [ours(), contender("odd", doubling)]
    answer = measure(case, peers, device=CPU, threads=1, pace=Pace(rounds=5, seconds=0.05))
    text = markdown([(case, answer)], ["ours", "odd"], "# heading")
    assert "- odd, 1 cases: o is off by 1.0e+00, ht is off by 1.0e+00" in text
    assert "x odd" not in text


def test_no_number_is_no_small_error() -> None:
    reference = {"o": torch.ones(1, 4, 1, 2)}
    found = errors({"o": torch.full((1, 4, 1, 2), torch.nan)}, reference)
    row = {"errors": found, "times": {"cuda-graph": {"median": 1e-3}}}
    text = markdown([(TINY["decode"], {"contenders": {"FLA": row}})], ["ours", "FLA"], "#")
    assert "| - | NaN |" in text and "FLA, 1 cases: o is off by NaN" in text


def test_what_the_timer_doubts_is_told() -> None:
    doubted = {"contenders": {}, "conditions": {"warnings": ["throttled GPU: power cap"]}}
    text = markdown([(TINY["decode"], doubted)] * 2, ["ours"], "#")
    assert "- 2 cases: throttled GPU: power cap" in text


def test_there_is_no_page_without_plotly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.compare.plot.find_spec", lambda name: None)
    write_plot([], ["ours"], "cuda-graph", tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def times(seconds: float) -> dict[str, Any]:
    return {"errors": {"o": 1e-3}, "times": {"cuda-graph": {"median": seconds}}}


def test_a_lost_row_is_as_plain_as_a_won_one() -> None:
    won, lost = TINY["decode"], TINY["backward"]
    measured: list[tuple[Case, dict[str, Any]]] = [
        (won, {"contenders": {"ours": times(1e-3), "FLA": times(2e-3)}}),
        (lost, {"contenders": {"ours": times(4e-3), "FLA": times(1e-3)}}),
        (lost, {"failed": "the process died"}),
    ]
    text = markdown(measured, ["ours", "FLA"], "# heading")
    assert "2.00x |" in text and "0.25x lost" in text
    assert "decode: 2.00x FLA" in text and "as fast or faster in 1" in text
    assert "all, 1 cases: the process died" in text


def test_the_roofline_counts_bytes_of_a_decode_step() -> None:
    h200 = target_named("h200")
    case = Case("decode", "B256", (1,) * 256, 16, 32)
    states = 256 * 32 * 128 * 128 * 4 * 2
    floor = roofline(case, h200)
    assert floor is not None and states / h200.bandwidth < floor < 1.02 * states / h200.bandwidth
    assert roofline(case, target_named("cpu")) is None


def test_the_roofline_of_gradients_writes_none_of_the_outputs() -> None:
    target = replace(target_named("h200"), flops_16=0.0)
    case = Case("backward", "8k", (8192,), 16, 32)
    tokens = 8192 * (2 * (2 * 2 * 16 + 3 * 32) * 128 + 16 * 32)
    states = 3 * 32 * 128 * 128 * 4
    assert roofline(case, target) == pytest.approx((tokens + states) / target.bandwidth)


def test_the_roofline_counts_flops_of_key_heads_once() -> None:
    target = replace(target_named("h200"), bandwidth=1e15)  # so that memory bounds nothing
    few, many = (Case("forward", "8k", (8192,), H, 64) for H in (1, 64))
    more = 8192 * 63 * 2 * 64 * 128 / target.flops_16
    assert roofline(many, target) == pytest.approx((roofline(few, target) or 0.0) + more)


def test_the_command_writes_tables_raw_samples_and_a_plot_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["compare", "tiny", "--out", str(tmp_path), "--seconds", "0.05", "--device", "cpu"]
    for count in ("1", "2"):
        monkeypatch.setattr("sys.argv", [*line, "--only", "transformers", "--cases", count])
        command.main()
    out = capsys.readouterr().out
    assert out.count("forward 1/2 D16 40") == 1  # measured once, by the first run
    (file,) = tmp_path.glob("*.json")
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == [c.name for c in GRIDS["tiny"]()][:2]
    assert file.with_suffix(".html").stat().st_size > 1000
    assert "best peer / ours" in file.with_suffix(".md").read_text()


def test_rows_of_other_conditions_are_not_mixed_in(tmp_path: Path) -> None:
    cases, report = list(GRIDS["tiny"]())[:2], tmp_path / "cpu-tiny.json"
    conditions = {"threads": 2, "versions": {"transformers": "5.0"}, "when": "today"}
    row = {"case": cases[0].name}
    report.write_text(json.dumps({"conditions": conditions, "rows": [row]}))
    stem = tmp_path / "cpu-tiny"
    assert command._known(stem, cases, {**conditions, "when": "later"}) == [(cases[0], row)]
    assert command._known(stem, cases, {**conditions, "threads": 1}) == []


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (["--cases", "0"], "--cases is 0; give >= 1"),
        (["--device", "cuda:99"], "device 'cuda:99' is not in this machine, which has cpu"),
    ],
)
def test_the_command_refuses_what_it_cannot_time(
    option: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["compare", "tiny", "--out", str(tmp_path), *option])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert says in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_published_rows_are_of_the_grids_cases() -> None:
    assert len(list(published("forward"))) == 171
    rows = {case.name: times for case, times in published("backward")}
    assert rows["backward 16/32 D128 8k x 1 bf16"] == {"FLA": 1.444, "FlashQLA": 0.789}
