"""An installed library, in a process without gdn-ops, gives the reference's numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gdn_ops.layers import GatedDeltaNet
from gdn_ops.reference import gated_delta_rule_reference
from tests.close import assert_close

SCRIPT = Path(__file__).with_name("bare_use.py")
B, T, H, HV, K, V = 2, 70, 16, 32, 128, 128
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BARS = {
    "fp32": {"o": 1e-5, **dict.fromkeys(("q", "k", "v", "g", "beta"), 1e-4)},
    "bf16": {"o": 5e-3, "q": 8e-3, "k": 8e-3, "v": 8e-3, "g": 2e-2, "beta": 2e-2},
}
"""Bars of the accuracy gate: for outputs and states, and for each input's gradient."""
INPUTS = ("q", "k", "v", "g", "beta")


def _call(tokens: int, dtype: torch.dtype, seed: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    call = {
        "q": torch.randn(B, tokens, H, K, generator=random).to(dtype),
        "k": torch.randn(B, tokens, H, K, generator=random),
        "v": torch.randn(B, tokens, HV, V, generator=random).to(dtype),
        "g": -torch.rand(B, tokens, HV, generator=random),
        "beta": torch.rand(B, tokens, HV, generator=random),
    }
    call["k"] = torch.nn.functional.normalize(call["k"], dim=-1).to(dtype)
    return call


@pytest.fixture(scope="module")
def inputs() -> dict[str, dict[str, Any]]:
    made = {}
    for seed, (name, dtype) in enumerate(DTYPES.items()):
        prefill, step = _call(T, dtype, seed), _call(1, dtype, seed + 2)
        state = torch.randn(B, HV, K, V, generator=torch.Generator().manual_seed(seed))
        do = torch.randn(B, T, HV, V, generator=torch.Generator().manual_seed(seed + 4)).to(dtype)
        made[name] = {"prefill": prefill, "decode": {**step, "initial_state": state}, "do": do}
    return made


@pytest.fixture(scope="module")
def installed(shipped_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as pip installs it, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--no-deps", "--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", folder, shipped_wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def found(
    installed: Path, inputs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("use")
    torch.save(inputs, folder / "in.pt")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH",)}
    # nothing may be written but what the test asks for: a library needs no cache of its own
    environment |= {"GDN_RESULTS_DB": "/nowhere/r.db", "GDN_CACHE_DIR": "/dev/null/cache"}
    run = subprocess.run(
        [sys.executable, SCRIPT, installed, folder / "in.pt", folder / "out.pt"],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    results: dict[str, Any] = torch.load(folder / "out.pt")
    return results


@pytest.mark.parametrize("dtype", DTYPES)
def test_prefill_decode_and_gradients_are_the_references(
    found: dict[str, Any], inputs: dict[str, Any], dtype: str
) -> None:
    call, bars = inputs[dtype], BARS[dtype]
    leaves = {n: x.double().requires_grad_() for n, x in call["prefill"].items()}
    o, state = gated_delta_rule_reference(**leaves, output_final_state=True)
    o.backward(call["do"].double())
    assert_close("o", o.detach(), found[dtype]["o"], bars["o"])
    assert_close("state", state.detach(), found[dtype]["state"], bars["o"])
    assert_close("packed o", o.detach().flatten(0, 1)[None], found[dtype]["packed o"], bars["o"])
    for name in INPUTS:
        assert leaves[name].grad is not None
        assert_close(f"d{name}", leaves[name].grad, found[dtype][f"d{name}"], bars[name])
    step = {n: x.double() for n, x in call["decode"].items()}
    o, state = gated_delta_rule_reference(**step, output_final_state=True)
    assert_close("decode o", o, found[dtype]["decode o"], bars["o"])
    assert_close("decode state", state, found[dtype]["decode state"], bars["o"])


def test_a_compiled_call_gives_the_same(found: dict[str, Any]) -> None:
    assert torch.equal(found["compiled o"], found["fp32"]["o"])


def test_the_librarys_layer_is_that_of_gdn_ops(found: dict[str, Any]) -> None:
    layer = GatedDeltaNet(64, expand_v=1, num_heads=16, num_v_heads=32, head_dim=128)
    layer.load_state_dict(found["layer"]["weights"])
    with torch.no_grad():
        expected = layer(found["layer"]["x"])[0]
    assert_close("o", expected, found["layer"]["o"], BARS["fp32"]["o"])


def test_the_first_call_loads_only_the_variant_that_it_runs(found: dict[str, Any]) -> None:
    (module,) = found["loaded by the first call"]
    # the winner on this kind of CPU, if its C++ compiles here
    assert any(f".rendered.{stage}_chunk_" in module for stage in ("cpp", "torch"))
    assert found["modules at import"] < 20


def test_operators_are_the_librarys_own(found: dict[str, Any], installed: Path) -> None:
    (package,) = [p.name for p in installed.iterdir() if (p / "library.json").exists()]
    assert found["operator"] == f"{package}.rule"
    assert found["foreign"] == []


def test_only_the_librarys_database_is_read(found: dict[str, Any], installed: Path) -> None:
    # on a CPU of another kind no winner fits and the default variant runs
    assert not found["database"] or str(installed) in found["database"]


def test_another_problem_is_refused_with_what_the_library_serves(found: dict[str, Any]) -> None:
    first, *rest = found["refusal"].splitlines()
    assert first == "the call has H=1, HV=1; this library has H=16, HV=32."
    assert "forward scalar-delta H=16 HV=32 K=128 V=128 bf16/fp32. For anything" in rest[0]
    assert first in found["explained refusal"] and "runs on  nothing" in found["explained refusal"]


def test_a_library_and_gdn_ops_work_in_one_process(installed: Path) -> None:
    (package,) = [p.name for p in installed.iterdir() if (p / "library.json").exists()]
    script = (
        f"import sys; sys.path.append({str(installed)!r}); import torch, gdn_ops; "
        f"import {package} as library; "
        "x = [torch.ones(1, 4, 16, 128), torch.ones(1, 4, 16, 128), torch.ones(1, 4, 32, 128), "
        "-torch.ones(1, 4, 32), torch.ones(1, 4, 32)]; "
        "a, b = (m.chunk_gated_delta_rule(*x)[0] for m in (gdn_ops, library)); "
        "print(torch.allclose(a, b), gdn_ops.using is library.using)"
    )
    root = Path(__file__).parents[3]
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["True", "False"]
