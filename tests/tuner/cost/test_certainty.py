"""How sure the cost model says it is."""

from __future__ import annotations

from math import log

import pytest

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cost.certainty import ELSEWHERE, ERRORS, interval, lead, spread
from gdn_ops.tuner.cost.prediction import Prediction, Ranking

PROBLEM = Problem(op="forward", H=4, HV=8, K=64, V=64, dtype="bf16", tokens=512, sequences=1)


def test_the_interval_has_nine_tenths_of_a_normal_distribution() -> None:
    low, high = interval(1e-3, 0.2)
    assert low * high == pytest.approx(1e-6)
    assert log(high / low) == pytest.approx(2 * 1.645 * 0.2)


def test_a_choice_that_leads_by_more_is_surer() -> None:
    assert lead((1.0, 0.1), (1.0, 0.3)) == pytest.approx(0.5)
    # one standard deviation of the difference
    assert lead((1.0, 0.3), (2.718281828**0.5, 0.4)) == pytest.approx(0.8413, abs=1e-4)
    assert lead((2.0, 0.1), (1.0, 0.1)) < 0.001
    assert (lead((1.0, 0.0), (2.0, 0.0)), lead((1.0, 0.0), (1.0, 0.0))) == (1.0, 0.5)


def test_a_plan_is_as_sure_as_its_least_sure_stage() -> None:
    h200, a100 = target_named("h200"), target_named("a100")
    fused, hopper = (Variant.default(plan, PROBLEM) for plan in ("fused", "fused_sm90"))
    assert spread(fused, h200) == ERRORS["triton"]
    assert spread(hopper, h200) == ERRORS["gluon"]  # its solve is in Triton
    assert spread(fused, a100) == ELSEWHERE * ERRORS["triton"]
    predictions = tuple(
        Prediction(problem=PROBLEM, variant=variant, seconds=seconds, spread=0.1)
        for variant, seconds in ((fused, 1.0), (hopper, 1.1))
    )
    assert Ranking(predictions=predictions).lead == lead((1.0, 0.1), (1.1, 0.1))
    assert Ranking(predictions=predictions[:1]).lead is None
