"""The hashes by which stored trials know what was run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest

from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.render import render
from gdn_ops.codegen.source_hash import code_of, source_hashes
from gdn_ops.codegen.variant import Variant
from tests.problems import DECODE, FORWARD

VARIANTS = [
    (problem, Variant.default(plan, problem))
    for problem, plans in ((FORWARD, ("split", "recurrent", "torch")), (DECODE, ("torch",)))
    for plan in plans
]


@pytest.mark.parametrize(("problem", "variant"), VARIANTS)
def test_a_hash_is_of_the_rendered_code_without_its_prose(
    problem: Problem, variant: Variant
) -> None:
    hashes = source_hashes(problem, variant)
    assert list(hashes) == [name for name, _ in variant.stages]
    for name, found in hashes.items():
        source = render(KERNELS[name], problem, variant.config(name))
        code = code_of(source, name)
        assert found == hashlib.sha256(code.encode()).hexdigest()[:16]
        reworded = re.sub(r'\A"""', '"""Other words. ', source).replace("  # ", "  # other ")
        renamed = re.sub(rf"\b{name}\b", "another_name", reworded)
        assert code_of(renamed, "another_name") == code
        number = re.search(r"\d+", code)
        assert number is not None, "the code itself counts"
        assert code_of(source.replace(number[0], "12345"), name) != code


@pytest.mark.parametrize(("problem", "variant"), VARIANTS)
def test_launch_axes_and_sizes_shape_no_source(problem: Problem, variant: Variant) -> None:
    for name, _ in variant.stages:
        spec, config = KERNELS[name], variant.config(name)
        first = render(spec, problem, config)
        assert render(spec, replace(problem, tokens=4 * problem.tokens), config) == first
        for axis in spec.axes:
            for value in axis.values if axis.launch else ():
                assert render(spec, problem, {**config, axis.name: value}) == first, axis.name


def test_what_shapes_a_source_changes_its_stage_alone() -> None:
    plain = source_hashes(FORWARD, Variant.of("split", FORWARD))
    config = next(
        {axis.name: value}
        for axis in KERNELS["chunk_h"].axes
        if not axis.launch
        for value in axis.values
        if value != KERNELS["chunk_h"].default(FORWARD)[axis.name]
    )
    other = source_hashes(FORWARD, Variant.of("split", FORWARD, stages={"chunk_h": config}))
    assert {name for name in plain if plain[name] != other[name]} == {"chunk_h"}
    heads = source_hashes(replace(FORWARD, V=2 * FORWARD.V), Variant.of("split", FORWARD))
    assert heads["chunk_o"] != plain["chunk_o"]
