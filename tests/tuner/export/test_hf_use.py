"""A kernel for the Hub, in a process without gdn-ops, gives the reference's numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import normalize

import gdn_ops
from gdn_ops.reference import gated_delta_rule_reference
from tests.close import assert_close
from tests.tiny_library import HEADS, K, V

SCRIPT = Path(__file__).with_name("hf_use.py")
B, T = 2, 70
H, HV = HEADS[0]
INPUTS = ("q", "k", "v", "g", "beta")


def _call(tokens: int) -> dict[str, torch.Tensor]:
    return {
        "q": torch.randn(B, tokens, H, K),
        "k": torch.randn(B, tokens, H, K),
        "v": torch.randn(B, tokens, HV, V),
        "g": -torch.rand(B, tokens, HV),
        "beta": torch.rand(B, tokens, HV),
    }


NAME = "tuned"
"""``kernels`` takes the id in the metadata; any name will do."""


def test_the_example_of_its_card_runs(kernel: Path) -> None:
    text = (kernel / "README.md").read_text()
    (example,) = re.findall(r"^library = get_local_kernel[^\n]*\n(.*?)^```", text, re.M | re.S)
    scope: dict[str, Any] = {"torch": torch, "library": gdn_ops}
    exec(example, scope)
    assert scope["o"].shape == (1, 256, HV, V) and scope["state"].shape == (1, HV, K, V)


def test_its_layers_run_what_transformers_asks_for(kernel: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    inputs: dict[str, Any] = {"prefill": _call(T), "decode": _call(1)}
    inputs |= {"state": torch.randn(B, HV, K, V), "cu_seqlens": torch.tensor([0, T, 2 * T])}
    torch.save(inputs, tmp_path / "in.pt")
    (variant,) = kernel.glob("build/*")
    run = subprocess.run(
        [sys.executable, SCRIPT, variant, NAME, tmp_path / "in.pt", tmp_path / "out.pt"],
        cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = torch.load(tmp_path / "out.pt")
    assert found["foreign"] == []
    refusal = "the call has op=backward (gradients); this library has op=decode or forward."
    assert found["no gradients"].startswith(f"{refusal}\nThis library serves on cpu-avx2")
    assert f"runs on  nothing\nbecause  {refusal}\n" in found["explained"]
    assert found["explained"].startswith("problem  decode-scalar-delta-N2-L2-")
    assert found["child"].startswith("it sees ")

    def expected(call: dict[str, torch.Tensor], state: torch.Tensor | None) -> Any:
        q, k, v, g, beta = (call[name].double() for name in INPUTS)
        q, k = normalize(q, dim=-1), normalize(k, dim=-1)
        return gated_delta_rule_reference(
            q, k, v, g, beta, initial_state=state, output_final_state=True
        )

    o, state = expected(inputs["prefill"], None)
    assert_close("o", o, found["o"], 1e-5)
    assert_close("state", state, found["state"], 1e-5)
    assert_close("packed o", o.flatten(0, 1)[None], found["packed o"], 1e-5)
    o, state = expected(inputs["decode"], inputs["state"].double())
    assert_close("decode o", o, found["decode o"], 1e-5)
    assert_close("decode state", state, found["decode state"], 1e-5)
