"""Where sources come from: templates in gdn-ops, files with an index in an exported library."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.rendered.collect import configs, problems
from gdn_ops.codegen.errors import LaunchError, UnsupportedProblem
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.render import render
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.target import Target
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import choose, choose_forced
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.sources import origin, templates
from gdn_ops.sources.files import INDEX, Files
from gdn_ops.sources.served import Served, kind_of
from gdn_ops.sources.templates import Templates
from gdn_ops.tuner.spaces.workloads import pool
from tests.problems import FORWARD

SERVED = replace(FORWARD, dtype="fp32")
DTYPES = ("bf16", "fp32")
SIZES = ((1 << 17, 1), (64, 16))
EACH = 4
"""Problems of the sample per stage."""


@pytest.mark.parametrize("stage", KERNELS)
def test_the_source_of_a_stage_does_not_depend_on_sizes(stage: str) -> None:
    chance, spec, seen = random.Random(stage), KERNELS[stage], 0
    target = TARGETS["cpu" if spec.cpp else "b200" if stage.endswith("_sm100") else "h200"]
    sample = list(problems())
    for problem in chance.sample(sample, len(sample)):
        plan = next((p for p in PLANS.values() if stage in p.stages(problem)), None)
        if plan is None or plan.reasons(problem, plan.default(problem), target):
            continue
        for config in configs(plan, plan.default(problem), spec, problem, chance):
            if spec.reasons(problem, config, target):
                continue
            for tokens, sequences in SIZES:
                other = replace(problem, tokens=tokens, sequences=sequences)
                assert render(spec, other, config) == render(spec, problem, config)
            seen += 1
        if seen >= EACH:
            return
    assert seen, "the sample has no problem that this stage is for"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    """An origin with the source of one variant, which dispatch uses."""
    variant = Variant.default("torch", SERVED)
    index = {
        "stages": {
            SERVED.without_sizes().id(): {
                name: {KERNELS[name].label(variant.config(name)): f"{name}_1"}
                for name, _ in variant.stages
            }
        },
        "code": {f"{name}_1": "abc" for name, _ in variant.stages},
        "served": {"target": "cpu", "arch": "cpu", "gpu": False, "kinds": [kind_of(SERVED)]},
    }
    (tmp_path / INDEX).write_text(json.dumps(index))
    files = Files(tmp_path)
    monkeypatch.setattr("gdn_ops.dispatch.choice.origin", lambda: files)
    yield files


def test_a_library_runs_what_it_has_the_source_of(library: Files) -> None:
    choice = choose(replace(SERVED, tokens=77), TARGETS["cpu"], WinnerTable(()))
    assert choice.variant == Variant.default("torch", SERVED)
    assert library.hashes(SERVED, choice.variant) == {"torch_chunk": "abc"}


def test_a_problem_without_a_source_is_refused_with_what_the_library_serves(
    library: Files,
) -> None:
    serves = (
        "This library serves on cpu (cpu): forward scalar-delta H=2 HV=4 K=64 V=64 fp32. For "
        "anything else install gdn-ops, or tune it there and export again."
    )
    with pytest.raises(UnsupportedProblem, match="no source of stage torch_chunk") as caught:
        choose(replace(SERVED, varlen=True), TARGETS["cpu"], WinnerTable(()))
    assert str(caught.value).splitlines()[-1] == serves
    with pytest.raises(UnsupportedProblem) as caught:
        choose(replace(SERVED, H=1, HV=1), TARGETS["cpu"], WinnerTable(()))
    differs = "the call has H=1, HV=1; this library has H=2, HV=4."
    assert str(caught.value).splitlines() == [differs, serves]
    with pytest.raises(UnsupportedProblem, match=rf"using\('torch'\) cannot run .*: {differs}"):
        choose_forced(replace(SERVED, H=1, HV=1), TARGETS["cpu"], "torch")


def test_what_a_call_differs_in_is_said_first() -> None:
    served = [replace(SERVED, op=op, dtype=t) for op in ("decode", "forward") for t in DTYPES]
    library = Served("h200", "sm_90", True, [kind_of(problem) for problem in served])
    h200, h100, cpu = (TARGETS[name] for name in ("h200", "h100", "cpu"))

    def said(target: Target = h200, **facts: Any) -> str:
        return library.differences(replace(SERVED, **facts), target)

    assert said() == said(h100) == ""
    assert said(cpu) == "the call is on a CPU; this library is for h200 (sm_90)."
    assert said(TARGETS["a100"]) == "the call is on a100 (sm_80); this library is for h200 (sm_90)."
    assert said(dtype="fp16") == ("the call has dtype=fp16; this library has dtype=bf16 or fp32.")
    assert said(op="backward", H=1) == (
        "the call has op=backward (gradients); this library has op=decode or forward."
    )
    assert said(cpu, rule=Rule("vector")) == (
        "the call is on a CPU and has rule=vector-delta; this library is for h200 (sm_90) and has "
        "rule=scalar-delta."
    )
    assert said(H=4, dtype="fp16").endswith("has H=2, dtype=bf16 or fp32.")
    several = [kind_of(replace(SERVED, H=H, HV=HV)) for H, HV in ((2, 4), (4, 4), (2, 8))]
    assert replace(library, kinds=several).differences(replace(SERVED, H=1, HV=1), h200) == (
        "the call has H=1, HV=1; this library has H=2, HV=4 or H=4, HV=4 or H=2, HV=8."
    )
    assert str(library).startswith(
        "This library serves on h200 (sm_90): decode scalar-delta H=2 HV=4 K=64 V=64 bf16/fp32;"
    )


def test_a_pool_is_served_as_it_was_tuned() -> None:
    tuned = pool(sequences=8)
    library = Served("h200", "sm_90", True, [kind_of(tuned)])
    assert library.differences(replace(tuned, sequences=64, varlen=True), TARGETS["h200"]) == ""
    other = replace(tuned, state_dtype="fp32", qk_l2norm=False)
    assert library.differences(other, TARGETS["h200"]) == (
        "the call has state_dtype=fp32, qk_l2norm=False; this library has state_dtype=bf16, "
        "qk_l2norm=True."
    )
    assert "H=16 HV=32 K=128 V=128 state_dtype=bf16 state_v_first qk_l2norm" in str(library)


def test_a_forced_config_without_a_source_is_refused(library: Files) -> None:
    other = Variant.of("torch", SERVED, stages={"torch_chunk": {"BT": 16}})
    with pytest.raises(UnsupportedProblem, match="no source of stage torch_chunk with BT=16"):
        choose_forced(SERVED, TARGETS["cpu"], other)
    spec = KERNELS["torch_chunk"]
    with pytest.raises(UnsupportedProblem, match="This library serves"):
        library.load(spec, SERVED, other.config("torch_chunk"), interpret=False)


def test_gdn_ops_itself_renders_every_source() -> None:
    variant = Variant.default("torch", SERVED)
    assert origin().missing(SERVED, variant) == [] and origin().serves() == ""
    source, module = origin().load(
        KERNELS["torch_chunk"], SERVED, variant.config("torch_chunk"), interpret=False
    )
    assert source == render(KERNELS["torch_chunk"], SERVED, variant.config("torch_chunk"))
    assert callable(module.torch_chunk)


def test_without_a_writable_home_kernels_are_rendered_in_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setattr(templates, "cache_folder", lambda: tmp_path / "cache" / "gdn-ops")
    monkeypatch.delenv("GDN_CACHE_DIR", raising=False)
    templates._temporary_folder.cache_clear()
    problem = replace(SERVED, V=37)  # a source that no other test has imported
    config = Variant.default("torch", problem).config("torch_chunk")
    given = KERNELS["torch_chunk"], problem
    with pytest.warns(RuntimeWarning, match=r"set GDN_CACHE_DIR.*in a temporary folder") as caught:
        for BT in (16, 32):
            source, module = Templates().load(*given, {**config, "BT": BT}, interpret=False)
            assert f"BT = {BT}" in source and hasattr(module, "torch_chunk")
    assert len(caught) == 1
    assert templates._temporary_folder().stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(LaunchError, match="set GDN_CACHE_DIR"):
        Templates().load(*given, {**config, "BT": 128}, interpret=False)
