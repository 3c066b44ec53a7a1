"""The layers of a model are found, and the problems that are foretold are those that they pose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gdn_ops
from gdn_ops.codegen.mixer import Use
from gdn_ops.codegen.problem import Problem
from gdn_ops.dispatch.model_explanation import in_short
from gdn_ops.dispatch.model_layers import mixers_of
from gdn_ops.errors import InvalidInput, UnsupportedProblem
from gdn_ops.layers import DeltaNet, GatedDeltaNet, Mamba2
from gdn_ops.models import HybridConfig, HybridLanguageModel

LAYERS: dict[str, nn.Module] = {
    "gated": GatedDeltaNet(32, expand_v=1.5, head_dim=16, num_heads=1, num_v_heads=2, layer_idx=0),
    "delta": DeltaNet(hidden_size=32, num_heads=2, layer_idx=0),
    "mamba2": Mamba2(32, num_heads=4, head_dim=16, state_size=8, expand=2, n_groups=2, layer_idx=0),
}


def posed(layer: nn.Module, path: Path, *lengths: int) -> set[Problem]:
    """The problems that a layer poses for a prefill, and for a decode step after it."""
    with torch.no_grad(), gdn_ops.recording(path / "calls.json") as recorder:
        cache = None
        for length in lengths:
            x = torch.randn(1, length, 32, dtype=next(layer.parameters()).dtype)
            _, _, cache = layer(x, past_key_values=cache, use_cache=True)
    return set(recorder.counts)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_poses_the_problems_that_are_foretold(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    layer = LAYERS[name].to(dtype)
    (mixer,) = mixers_of(layer)
    use = Use.of([32], [1])
    foretold = {problem.bucket() for problem in mixer.problems(use)}
    assert posed(layer, tmp_path, 32, 1) == foretold
    rows = gdn_ops.explain(layer, lengths=[32], batches=[1]).rows
    assert {row.problem for row in rows} == foretold


def test_training_poses_outputs_and_gradients(tmp_path: Path) -> None:
    layer = LAYERS["gated"].float()
    with gdn_ops.recording(tmp_path / "calls.json") as recorder:
        layer(torch.randn(2, 16, 32))[0].sum().backward()
    (mixer,) = mixers_of(layer)
    use = Use.of([16], [2], training=True)
    assert set(recorder.counts) == set(mixer.problems(use))


def test_warmup_finds_the_layers_and_their_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr("gdn_ops.warming._run", lambda *given: calls.append(given[1:]))
    model = nn.Sequential(LAYERS["gated"].bfloat16(), LAYERS["delta"].bfloat16())
    choices = gdn_ops.warmup(model, lengths=[64, 128], batches=[4])
    assert [choice.problem for choice in choices] == [problem for problem, *_ in calls]
    assert [(p.rule.gate, p.op, p.tokens) for p, *_ in calls] == [
        (gate, op, n)
        for gate in ("scalar", "none")
        for op, n in (("forward", 64), ("forward", 128), ("decode", 4))
    ]
    dtypes = {(p.rule.gate, gate, beta) for p, _, gate, beta in calls}
    assert dtypes == {
        ("scalar", torch.bfloat16, torch.float32),  # g is raw; beta is activated in fp32
        ("none", torch.float32, torch.bfloat16),
    }
    with pytest.raises(InvalidInput, match="belong to a model"):
        gdn_ops.warmup([], lengths=[64])


def test_a_model_is_explained_by_kinds_of_layers() -> None:
    model = HybridLanguageModel(HybridConfig(pattern="H2", num_layers=6))
    text = str(gdn_ops.explain(model, lengths=[2048], batches=[], target="h200"))
    assert "blocks.{0,3}.mixer  forward-scalar-linear-N1-L2048" in text
    assert "blocks.{1,4}.mixer  forward-scalar-delta-N1-L2048" in text
    assert text.endswith("2 problems on h200: 2 default")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "a"),
        (["m.layers.7.x"], "m.layers.7.x"),
        ([f"m.{i}.x" for i in (0, 1, 2, 4, 5, 7)], "m.{0-2,4-5,7}.x"),
        (["a.0", "b.0", "c"], "a.0, b.0, c"),
    ],
)
def test_names_in_short(names: list[str], text: str) -> None:
    assert in_short(names) == text


class Mamba2Mixer(nn.Linear):
    """A layer of another library whose recurrence gdn_ops does not run."""


def test_what_cannot_be_read_is_refused() -> None:
    class DeltaNet(nn.Linear):
        """It has the name of a known layer, and nothing else of it."""

    for stranger in (Mamba2Mixer(2, 2), DeltaNet(2, 2)):
        with pytest.raises(InvalidInput, match="has no layer that gdn_ops knows"):
            mixers_of(stranger)
    with pytest.raises(UnsupportedProblem, match=r"are torch.float64; .*\.to\(torch.bfloat16\)"):
        mixers_of(nn.Sequential(GatedDeltaNet(8, head_dim=8, num_heads=1).double()))
    layer = GatedDeltaNet(8, head_dim=8, num_heads=1)
    with pytest.raises(InvalidInput, match="does not take 3, tokens; it takes lengths, batches"):
        gdn_ops.explain(layer, 3, tokens=2)  # type: ignore[call-overload]
    with pytest.raises(InvalidInput, match="0 in lengths must be a whole number >= 2"):
        gdn_ops.explain(layer, lengths=[0])
