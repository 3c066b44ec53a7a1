"""The example runs, tells the truth about its variants, and fails when decode is wrong."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gdn_ops.layers.gated_deltanet as gated_deltanet
from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch.posed import posed_by

PATH = Path(__file__).parents[2] / "examples" / "qwen3_5_block.py"
SMALL = ["--layers", "2", "--hidden", "32", "--heads", "1", "--prompt", "70", "--steps", "32"]


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("qwen3_5_block", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def problems(monkeypatch):
    """The problems that the layers pose, in order."""
    posed: list[Problem] = []
    for name in ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"):
        op = getattr(gated_deltanet, name)

        def spy(op=op, **arguments):
            posed.append(posed_by(op, **arguments).problem)
            return op(**arguments)

        monkeypatch.setattr(gated_deltanet, name, spy)
    return posed


def run(example, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [str(PATH), *arguments, "--device", "cpu"])
    return example.main()


def test_help():
    result = subprocess.run(
        [sys.executable, str(PATH), "--help"], capture_output=True, text=True, check=True
    )
    assert "--prompt" in result.stdout
    assert "Prefill and decode a small stack" in result.stdout


def test_it_explains_the_problems_that_ran(example, problems, monkeypatch, capsys):
    asked = []
    real = example.explain
    monkeypatch.setattr(example, "explain", lambda p, **kw: asked.append(p) or real(p, **kw))
    assert run(example, monkeypatch, *SMALL) == 0
    assert [p.op for p in asked] == ["forward", "decode"]
    prefills = [p for p in problems if p.op == "forward" and p.final_state]
    assert prefills == 4 * [asked[0]]
    decodes = [p for p in problems if p.op == "decode"]
    assert decodes == 2 * 33 * [asked[1]]
    out = capsys.readouterr().out
    assert len(re.findall(r"^runs on", out, re.MULTILINE)) == 2
    assert re.search(r"prefill  70 tokens at [\d,]+ tokens/s", out)
    assert re.search(r"decode   32 tokens at [\d,]+ tokens/s", out)
    assert re.search(r"max error \S+, RMS ratio \S+ \(within 1e-04\)", out)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(example, monkeypatch, dtype):
    assert run(example, monkeypatch, *SMALL, "--dtype", dtype, "--batch", "2") == 0


def test_a_wrong_decode_is_told(example, monkeypatch, capsys):
    op = gated_deltanet.fused_recurrent_gated_delta_rule

    def forgetful(**arguments):
        return op(**arguments | {"initial_state": 0.9 * arguments["initial_state"]})

    monkeypatch.setattr(gated_deltanet, "fused_recurrent_gated_delta_rule", forgetful)
    assert run(example, monkeypatch, *SMALL) == 1
    assert "ABOVE" in capsys.readouterr().out
