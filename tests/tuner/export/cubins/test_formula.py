"""Formulas: grids and shapes of every stage, in C as in Python."""

from __future__ import annotations

import ctypes as c
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from math import prod
from pathlib import Path

import pytest

from gdn_ops.codegen.axis import Config
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.plans import PLANS
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.tensor import TENSORS, Sizes, segment_tokens
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.cubins.c_source import SIZES, c_function
from gdn_ops.tuner.export.cubins.formula import Formula, formulas
from gdn_ops.tuner.export.cubins.kernel_set import kernel_set
from gdn_ops.tuner.spaces.workloads import decode, pool, prefill, training
from tests.tuner.export.cubins.loader import COMPILER, STRICT, compiled

PROBLEMS = [
    replace(problem, varlen=varlen).bucket()
    for problem in (
        prefill(tokens=65536, V=96), prefill(tokens=4096, rule=Rule("vector"), H=6, HV=6),
        training(tokens=65536, HV=16), decode(sequences=8), pool(sequences=8),
    )
    for varlen in (False, True)
]  # fmt: skip
CASES = [
    (problem, variant)
    for problem in PROBLEMS
    for plan in PLANS
    if not (variant := Variant.default(plan, problem)).reasons(problem, TARGETS["h200"])
    and all(KERNELS[name].language == "triton" for name, _ in variant.stages)
]
LENGTHS = ([0], [1], [64], [65, 0, 7], [1024, 1025, 5000], [8192] * 3)


def _expected(
    problem: Problem, variant: Variant, sizes: Sizes, tensors: Sequence[str]
) -> list[int]:
    """Every grid, then the bytes of each of these tensors."""
    found: list[int] = []
    configs: dict[str, Config] = {}
    for name, _ in variant.stages:
        spec, config = KERNELS[name], variant.config(name)
        found += [*spec.grid(problem, config, sizes), 1, 1][:3]
        for tensor in (*spec.inputs(problem, config), *spec.outputs(problem, config)):
            configs.setdefault(tensor, config)
    for name in tensors:
        tensor, config = TENSORS[name], configs[name]
        element = tensor.element(problem, config).bytes
        found.append(prod(tensor.dims(problem, config, sizes)) * element)
    return found


def test_every_grid_and_shape(tmp_path: Path) -> None:
    """For each plan and op, dense and packed: the loader's functions, called with real sizes."""
    if COMPILER is None:
        pytest.skip("this machine has no C compiler (cc, gcc or clang)")
    assert {v.plan for _, v in CASES} == {"split", "fused", "fused1", "segmented", "recurrent"}
    tensors: list[list[str]] = []
    lines = [
        "#include <stdint.h>",
        f"typedef struct {{ int64_t {', '.join(SIZES)}; }} sizes_of_call;",
        "int64_t ceil_div(int64_t a, int64_t b);",
        "int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }",
    ]
    for number, (problem, variant) in enumerate(CASES):
        own = kernel_set(variant, problem, dict.fromkeys(KERNELS, ""))
        grids = [formula for stage in own["stages"] for formula in stage["grid"]]
        dense = [buffer for buffer in own["buffers"] if not buffer["strided"]]
        tensors.append([buffer["name"] for buffer in dense])
        sizes = [buffer["bytes"] for buffer in dense]
        function = c_function(f"case_{number}", "found", [*grids, *sizes])
        lines += [f"void case_{number}(const sizes_of_call *, int64_t *);"]
        lines += [function.removeprefix("static ")]
    (tmp_path / "formulas.c").write_text("\n".join(lines))
    library = c.CDLL(str(compiled(tmp_path / "formulas.c", tmp_path / "formulas.so", *STRICT)))
    for (number, (problem, variant)), lengths in product(enumerate(CASES), LENGTHS):
        config = dict(variant.interface)
        BT, segment = int(config.get("BT") or 0), segment_tokens(config)
        if problem.op == "pool":
            sizes_of = Sizes(B=1, T=sum(lengths), N=len(lengths), NT=0)
        elif problem.varlen:
            sizes_of = Sizes.packed(sum(lengths) + 3, lengths, BT, segment)
        else:
            sizes_of = Sizes.dense(len(lengths), lengths[0], BT, segment)
        expected = _expected(problem, variant, sizes_of, tensors[number])
        given = (c.c_int64 * len(SIZES))(*(getattr(sizes_of, name, 0) for name in SIZES))
        found = (c.c_int64 * 64)(*([-1] * 64))
        getattr(library, f"case_{number}")(given, found)
        assert list(found)[: len(expected) + 1] == [*expected, -1], (problem.id(), variant)


B, T = Formula("B"), Formula("T")


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (lambda: (3 * B + 1) * T, "(3 * B + 1) * T"),
        (lambda: B * (T // 4), "B * (T / 4)"),
        (lambda: B * T // 4, "B * T / 4"),
        (lambda: -(-(B * T) // 64), "ceil_div(B * T, 64)"),
        (lambda: max(1, -(-T // 8)) * B, "ceil_div(T, 8) > 1 ? ceil_div(T, 8) * B : B"),
        (lambda: B if T else 0, "T != 0 ? B : 0"),
        (lambda: (B if B > T else T) * (2 if T == 1 else 3),
         "B > T ? (T == 1 ? B * 2 : B * 3) : T == 1 ? T * 2 : T * 3"),
        (lambda: 7, "7"),
        (lambda: 1 * B + 0, "B"),
    ],
)  # fmt: skip
def test_a_formula_is_what_python_computes(compute: Callable[[], object], text: str) -> None:
    assert formulas(lambda: (compute(),)) == (text,)


@pytest.mark.parametrize(
    ("compute", "why"),
    [
        (lambda: B * -1, "negative"),
        (lambda: B // 0, "divides by more than 0"),
        (lambda: -(-B // -4), "not by more than 0"),
        (lambda: -B, "is no formula"),
        (lambda: B - 1, "unsupported operand"),
        (lambda: T**2, "unsupported operand"),
        (lambda: int(T), "int"),
    ],
)
def test_what_no_formula_can_say_is_refused(compute: Callable[[], object], why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        formulas(lambda: (compute(),))
