"""What ships compiles to what the committed baselines say: the project's own guard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.check.states import State
from gdn_ops.tuner.check.static.baseline import baseline_file, read_baseline, text_of
from gdn_ops.tuner.check.static.check import Work, check_static
from gdn_ops.tuner.check.static.figures import reader_hash
from gdn_ops.tuner.check.static.kernel import config_of, kernel_of, kernels_of
from gdn_ops.tuner.check.static.shipping import GPUS, PROBLEMS, gpu_of, shipping
from gdn_ops.tuner.check.static.today import Today
from gdn_ops.tuner.spaces.workloads import prefill
from tests.results import Bench
from tests.triton_versions import ROOT
from tests.tuner.check.static.pinned import FOLDER, TRITON, needs_pinned_triton

UPDATE = "write the baselines again with `gdn check --static --update` and commit them"


@pytest.fixture(autouse=True, scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_CACHE_DIR", str(folder / "triton"))
        patch.setenv("GDN_CACHE_DIR", str(folder / "gdn"))
        yield


@needs_pinned_triton
def test_nothing_is_worse_than_the_baselines_say() -> None:
    """Only what differs from its baseline is compiled, so this is quick while nothing changed."""
    for arch in GPUS:
        # otherwise everything would be compiled, which takes minutes
        baseline = read_baseline(baseline_file(FOLDER, arch), arch)
        assert baseline.reader == reader_hash(gpu_of(arch)), UPDATE
    outcome = check_static(folder=FOLDER, work=Work(workers=1))
    assert {row.target for row in outcome.rows} == {*GPUS}
    assert not outcome.failing, [(row.target, row.name, row.message) for row in outcome.failing]
    assert replace(outcome, strict=True).exit_code() == 0, outcome.notes


@needs_pinned_triton
@pytest.mark.parametrize(
    "problems",
    [
        ("decode",),
        *(pytest.param((name,), marks=pytest.mark.exhaustive) for name in PROBLEMS),
    ],
)
def test_the_baselines_are_what_this_compiler_makes(problems: tuple[str, ...]) -> None:
    """Compiled, not taken from the baseline."""
    work = Work(problems={name: PROBLEMS[name] for name in problems})
    outcome = check_static(folder=FOLDER, work=work, everything=True)
    rows = [row for row in outcome.rows if row.state != State.REMOVED]
    kernels = [row for row in rows if row.file]
    assert {row.target for row in kernels} == {*GPUS}
    assert all(row.seconds > 0 for row in kernels)
    assert {row.state for row in rows} == {State.UNCHANGED}, UPDATE


def test_the_baselines_are_those_of_the_pinned_triton() -> None:
    pinned = re.search(r"(?m)^triton==(\S+)", (ROOT / "constraints.txt").read_text())
    assert pinned is not None
    found = {read_baseline(baseline_file(FOLDER, arch), arch).compiler.triton for arch in GPUS}
    assert found == {TRITON} == {pinned[1]}, UPDATE


@pytest.mark.parametrize("arch", GPUS)
def test_a_file_is_sorted_with_one_figure_per_line(arch: str) -> None:
    file = baseline_file(FOLDER, arch)
    assert text_of(read_baseline(file, arch)) == file.read_text()
    assert re.search(r'\n    "instructions": \d+,\n', file.read_text())


@pytest.mark.parametrize("arch", GPUS)
def test_every_template_ships(arch: str) -> None:
    today = Today.of(arch)
    templates = {KERNELS[kernel.stage].template for kernel in today.kernels}
    verified = {
        stage
        for kernel in today.kernels
        for plan in PLANS.values()
        for stage in plan.stages(kernel.problem)
        if plan.verified
    }
    assert templates == {KERNELS[stage].template for stage in verified if KERNELS[stage].compiled}
    assert templates >= {spec.template for spec in KERNELS.values() if spec.language == "triton"}
    baseline = read_baseline(baseline_file(FOLDER, arch), arch)
    assert {kernel.name for kernel in today.kernels} == {*baseline.kernels}, UPDATE


def test_no_default_of_a_scalar_gate_spills_on_hopper() -> None:
    kernels = read_baseline(baseline_file(FOLDER, "sm_90"), "sm_90").kernels
    spilling = {name for name, kernel in kernels.items() if kernel.figures.get("stack")}
    assert all(name.startswith("kda") for name in spilling), spilling


def test_equal_kernels_are_compiled_once() -> None:
    kernels = kernels_of(shipping("sm_90").variants)
    assert len({kernel.key for kernel in kernels}) == len(kernels)
    uses = [use for kernel in kernels for use in kernel.uses]
    assert len(set(uses)) == len(uses) > len(kernels)
    own = next(kernel for kernel in kernels if kernel.name == "prefill/split/gate_cumsum")
    assert "training/segmented/gate_cumsum" in own.uses


@pytest.mark.parametrize("arch", GPUS)
def test_a_config_is_read_back_from_its_words(arch: str) -> None:
    for kernel in Today.of(arch).kernels:
        words = f"{kernel.config} {kernel.options}"
        config = config_of(words, kernel.stage, kernel.plan)
        assert config is not None
        again = kernel_of(
            KERNELS[kernel.stage], kernel.plan, kernel.problem, config, kernel.target, use=""
        )
        assert (again.key, again.config) == (kernel.key, kernel.config)
        assert config_of(f"{words} more=1", kernel.stage, kernel.plan) is None
        assert config_of(words.replace("True", "Maybe"), kernel.stage, kernel.plan) is None


def test_shipped_winners_of_an_architecture_are_among_them(tmp_path: Path) -> None:
    problem = prefill(tokens=1024)
    variant = Variant.of("split", problem, stages={"chunk_o": {"num_stages": 1}})
    bench = Bench(tmp_path / "results.db")
    bench.win(problem, target="h100", arch="sm_90", variant=variant)
    bench.win(problem, target="a100", arch="sm_80", variant=variant)
    bench.win(prefill(tokens=2048), target="cpu", arch="cpu")
    bench.win(prefill(tokens=4096), target="h200", variant=Variant("none", (), ()))
    database = bench.close()
    ships = shipping("sm_90", problems={}, databases=[database])
    found, notes = ships.variants, ships.notes
    assert [shipped.name for shipped in found] == [f"winners/h100/{problem.bucket().id()}"]
    assert found[0].variant == variant
    assert found[0].target.name == "h200"
    assert len(notes) == 1
    assert "L4096" in notes[0]
    (kernel,) = [kernel for kernel in kernels_of(found) if kernel.stage == "chunk_o"]
    assert "num_stages=1" in kernel.options
