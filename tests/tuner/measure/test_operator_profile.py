"""What a profile counts: all parts of a call, and the operations of its products."""

from __future__ import annotations

import torch

from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.measure.operator_profile import (
    OUTSIDE,
    PRODUCTS,
    operator_profile,
    product_flops,
)


def test_operations_of_products() -> None:
    assert product_flops([[3, 4, 5], [3, 5, 6], [3, 4, 6]]) == 2 * 3 * 4 * 5 * 6  # bmm with out
    # baddbmm with out; the tensor that is added could not be multiplied by the first operand
    assert product_flops([[3, 4, 6], [3, 4, 5], [3, 5, 6], [], [3, 4, 6]]) == 2 * 3 * 4 * 5 * 6
    assert product_flops([[4, 5], [5, 6]]) == 2 * 4 * 5 * 6
    assert product_flops([[7], []]) == 0


def test_products_of_a_decode_step_are_counted() -> None:
    problem = Problem(
        op="decode", H=2, HV=2, K=16, V=24, dtype="fp32", tokens=3, sequences=3,
        initial_state=True, final_state=True,
    )  # fmt: skip
    parts = operator_profile(
        problem,
        Variant.default("torch", problem),
        device=torch.device("cpu"),
        threads=torch.get_num_threads(),
        rounds=3,
    )
    found = {part.name: part for part in parts}
    assert found[PRODUCTS].calls == 2  # by k and by q
    assert found[PRODUCTS].flops == 2 * (2 * 3 * 2 * 16 * 24)
    assert found[OUTSIDE].seconds > 0
    assert [p.seconds for p in parts] == sorted((p.seconds for p in parts), reverse=True)
