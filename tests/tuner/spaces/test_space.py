"""Space: what may be tried, and by which key the store knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gdn_ops.codegen.errors import UnknownName
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.spaces.space import Space, plan_key, plans_for, why_no_plan, with_stage_configs
from gdn_ops.tuner.spaces.workloads import WORKLOADS
from tests.tuner.search.recorded import CPU, PROBLEM, toy_plans


@pytest.fixture
def toys() -> Iterator[None]:
    with toy_plans("single", "pair"):
        yield


def single() -> Space:
    return plans_for(PROBLEM, CPU)["single"][0][0]


@pytest.mark.usefixtures("toys")
def test_configs_are_the_product_minus_what_is_refused_with_the_default_first() -> None:
    space = single()
    assert len(space.configs) == 4 * 4 * 2 - 2
    assert space.configs[0] == {"tile": 32, "warps": 4, "form": "plain"}
    assert not any(config["tile"] == 64 and config["warps"] == 8 for config in space.configs)
    refused = {"tile": 64, "warps": 8, "form": "plain"}
    assert not space.is_valid(refused)
    assert space.reasons(refused) == ["tile 64 does not go with 8 warps"]


@pytest.mark.usefixtures("toys")
def test_a_single_stage_is_tried_as_the_plan_and_its_default_has_the_plans_key() -> None:
    space = single()
    default = Variant.default("single", PROBLEM)
    assert not space.timed_separately
    assert space.key(space.configs[0]).config_hash == plan_key(PROBLEM, CPU, default).config_hash


@pytest.mark.usefixtures("toys")
def test_a_stage_among_others_is_tried_alone_under_what_it_reads_of_the_interface() -> None:
    interfaces = plans_for(PROBLEM, CPU)["pair"]
    assert len(interfaces) == 4
    assert dict(interfaces[0][0].interface) == {"BT": 16, "store": "io"}
    first, second = interfaces[0]
    assert first.timed_separately and first.shared == {"BT": 16}
    assert second.shared == {"BT": 16, "store": "io"}
    keys = {spaces[0].key(first.configs[0]).config_hash for spaces in interfaces}
    assert len(keys) == 2, "stage first reads BT alone, so two interfaces share its trials"


@pytest.mark.usefixtures("toys")
def test_a_stored_trial_is_read_back_by_the_space_it_belongs_to() -> None:
    interfaces = plans_for(PROBLEM, CPU)["pair"]
    (first, second), other = interfaces[0], interfaces[-1][1]
    for space in (first, second, single()):
        for config in space.configs:
            assert space.config_of(space.key(config)) == config
    assert second.config_of(first.key(first.configs[0])) is None
    assert other.config_of(second.key(second.configs[0])) is None


@pytest.mark.usefixtures("toys")
def test_a_config_of_another_space_is_adopted_if_it_is_valid_here() -> None:
    space = single()
    assert space.adopt({"tile": 64, "gone": 1}) == {"tile": 64, "warps": 4, "form": "plain"}
    assert space.adopt({"tile": 64, "warps": 8}) is None
    assert space.adopt({"tile": 17}) is None


@pytest.mark.usefixtures("toys")
def test_unknown_plans_are_named_and_refusals_say_why() -> None:
    with pytest.raises(UnknownName, match="did you mean 'single'"):
        plans_for(PROBLEM, CPU, ["singel"])
    with toy_plans("single"):
        assert plans_for(PROBLEM, CPU, ["single"]).keys() == {"single"}


@pytest.mark.usefixtures("toys")
def test_the_nearest_configs_differ_in_fewest_axes_and_then_by_fewest_steps() -> None:
    space = single()
    nearest = list(space.nearest())
    assert sorted(map(str, nearest)) == sorted(map(str, space.configs))
    changed = [sum(c[name] != space.default[name] for name in c) for c in nearest]
    assert changed == sorted(changed)
    assert nearest[0] == space.default
    assert {str(space.variant(config)) for config in nearest[1:6]} == {
        f"single single({change})"
        for change in ("tile=16", "tile=64", "warps=2", "warps=8", "form=fancy")
    }


@pytest.mark.usefixtures("toys")
def test_the_stages_around_one_are_as_they_are_said_to_be() -> None:
    interface = with_stage_configs(
        plans_for(PROBLEM, CPU)["pair"][-1], {"first": {"tile": 128}, "second": {"warps": 8}}
    )
    first, second = interface
    assert (first.initial_config, second.initial_config) == ({"tile": 128}, {"warps": 8})
    assert dict(second.variant({"warps": 1}).stages) == {
        "first": (("tile", 128),), "second": (("warps", 1),),
    }  # fmt: skip
    assert first.key({"tile": 16}) == plans_for(PROBLEM, CPU)["pair"][-1][0].key({"tile": 16})


@pytest.mark.parametrize("target", ["h200", "a100", "mi300x"])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_a_stage_is_searched_among_stages_that_can_run(dtype: str, target: str) -> None:
    problem = replace(PROBLEM, H=16, HV=32, K=128, V=128, tokens=2048, dtype=dtype)
    for interfaces in plans_for(problem, TARGETS[target]).values():
        for spaces in interfaces:
            for space in spaces:
                variant = space.variant(space.initial_config)
                assert variant.reasons(problem, TARGETS[target]) == [], str(variant)


@pytest.mark.parametrize("target", ["cpu", "h200"])
@pytest.mark.parametrize("workload", sorted(WORKLOADS))
def test_every_problem_of_every_workload_has_a_plan(workload: str, target: str) -> None:
    for problem in WORKLOADS[workload].problems:
        plans = plans_for(problem, TARGETS[target])
        assert "torch" in plans
        if target == "cpu":
            assert plans.keys() <= {"cpp", "torch"}
            assert any("is not a GPU" in reason for reason in why_no_plan(problem, TARGETS["cpu"]))
        for name, interfaces in plans.items():
            for spaces in interfaces:
                assert [space.stage for space in spaces] == list(PLANS[name].stages(problem))
                variant = spaces[-1].variant(spaces[-1].initial_config)
                assert variant.plan == name
