"""Regressions planted in a copy of the project are found, and attributed to what was changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.tuner.check.states import FAILED, OK
from tests.tuner.check.static.pinned import needs_pinned_triton
from tests.tuner.check.static.tree import Tree

pytestmark = needs_pinned_triton

WALK = "templates/triton/recurrent.py.jinja"
WIDE = ('constant("BV", BV,', 'constant("BV", 4 * BV,')
"""A tile of the state that the registers of one warp cannot hold."""
DECODE = "decode/recurrent/recurrent"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tree(tmp_path: Path, cache: Path) -> Tree:
    return Tree(tmp_path / "tree", cache)


def by_figure(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {difference["figure"]: difference for difference in row["differences"]}


def changed_rows(found: dict[str, Any]) -> list[str]:
    return [n for n, r in found["rows"].items() if r["state"] not in ("unchanged", "removed")]


def test_a_template_that_spills(tree: Tree) -> None:
    tree.edit(WALK, *WIDE)
    found = tree.check(problems=["decode"])
    assert changed_rows(found) == [DECODE]
    row = found["rows"][DECODE]
    assert row["state"] == "regressed"
    assert row["file"] == WALK
    assert (row["target"], row["op"], row["dtype"]) == ("sm_90", "decode", "bf16")
    stack = by_figure(row)["stack"]
    assert (stack["base"], stack["failing"], stack["cause"]) == (0, True, "template")
    assert stack["head"] == row["figures"]["stack"] > 0
    assert "bytes per thread, cause: template" in row["message"]
    assert found["exit"] == FAILED


def test_a_template_that_races(tree: Tree) -> None:
    """The pipeline that bwd_dqkvg refuses on sm_90, asked for by the template itself."""
    loop = "range(tl.cdiv(V, BV))"
    tree.edit("templates/macros/grads.jinja", loop, f"tl.{loop[:-1]}, num_stages=3)")
    found = tree.check(problems=["training"])
    assert changed_rows(found) == ["training/split/bwd_dqkvg"]
    row = found["rows"]["training/split/bwd_dqkvg"]
    races = by_figure(row)["races"]
    assert row["state"] == "regressed"
    assert (races["base"], races["failing"], races["cause"]) == (0, True, "template")
    assert "a copy into b_do starts while the product" in row["message"]


def test_a_launch_more(tree: Tree) -> None:
    tree.edit("codegen/plans/fused1.py", '("fused1",)', '("gate_cumsum", "fused1")')
    tree.edit("codegen/kernels/fused1.py", '"beta", *gate,', '"beta", *gate, "gc",')
    g = '{{ "gc" if SOLVED else "g" }},'
    tree.edit("templates/triton/scan.py.jinja", g, f"{g}{{{{ ' gc,' if not SOLVED }}}}")
    row = tree.check(problems=["prefill"])["rows"]["prefill/fused1"]
    assert row["state"] == "regressed"
    launches, moved = (by_figure(row)[figure] for figure in ("launches", "bytes"))
    assert (launches["base"], launches["head"], launches["cause"]) == (1, 2, "template")
    assert moved["head"] > moved["base"]
    assert moved["failing"]


def test_another_default_is_a_change_of_the_configuration(tree: Tree) -> None:
    tree.edit("codegen/kernels/chunk_o.py", "default_stages=STAGES", "default_stages=4")
    found = tree.check(problems=["prefill"])
    assert changed_rows(found) == ["prefill/split/chunk_o"]
    row = found["rows"]["prefill/split/chunk_o"]
    assert {difference["cause"] for difference in row["differences"]} == {"configuration"}
    warps = by_figure(row)["resident warps"]
    assert warps["failing"]
    assert warps["head"] < warps["base"]
    assert "num_stages=2" in row["base"]
    assert "num_stages=4" in row["head"]


def test_a_change_of_source_and_compiler_is_told_apart_by_the_old_source(tree: Tree) -> None:
    """A baseline that claims another compiler and two figures that this compiler never made."""
    data = json.loads(tree.baseline.read_text())
    data["triton"] = "3.6.0"
    kernel = data["kernels"][DECODE]["figures"]
    true = dict(kernel)
    kernel["warps"], kernel["registers"] = true["warps"] + 1, 7
    tree.baseline.write_text(json.dumps(data))
    tree.commit()
    tree.edit(WALK, *WIDE)

    skipped = tree.check(problems=["decode"])
    assert skipped["rows"][DECODE]["state"] == "environment changed"
    assert "Triton 3.6.0" in skipped["rows"][DECODE]["message"]
    assert skipped["exit"] == OK

    row = tree.check(problems=["decode"], any_compiler=True)["rows"][DECODE]
    causes = {figure: d["cause"] for figure, d in by_figure(row).items()}
    assert causes["stack"] == causes["instructions"] == "template"
    assert causes["warps"] == "compiler"
    assert causes["registers"] == "template and compiler"

    (tree.folder / ".git").rename(tree.folder / "no-git")
    row = tree.check(problems=["decode"], any_compiler=True)["rows"][DECODE]
    assert {d["cause"] for d in row["differences"]} == {"template and compiler"}


def test_an_update_is_what_the_next_check_compares_with(tree: Tree) -> None:
    tree.edit(WALK, *WIDE)
    before = json.loads(tree.baseline.read_text())
    found = tree.check(problems=["decode"], update=True)
    assert found["rows"][DECODE]["state"] == "regressed"
    assert found["notes"][-1] == "wrote baselines/static/sm_90.json"
    after = json.loads(tree.baseline.read_text())
    assert after["kernels"][DECODE]["figures"]["stack"] > 0
    assert after["kernels"][DECODE]["hash"] != before["kernels"][DECODE]["hash"]
    assert list(after["variants"]) == ["decode/recurrent"]
    again = tree.check(problems=["decode"])
    assert {row["state"] for row in again["rows"].values()} == {"unchanged"}
