"""The papers' figures: both are measured, plotted and written as tables and samples."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_it_writes_tables_plots_and_samples(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("plotly")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import paper_figures

    small = "--tokens 32 --width 32 --layers 2 --head-dim 16 --dims 16 32 --rounds 1 --threads 1"
    options = [*small.split(), "--lengths", "16", "32", "--models", "GLA", "DeltaNet + attention"]
    monkeypatch.setattr(sys, "argv", ["paper_figures.py", "--out", str(tmp_path), *options])
    threads = torch.get_num_threads()
    try:
        assert paper_figures.main() == 0
    finally:
        torch.set_num_threads(threads)
    text = (tmp_path / "figures.md").read_text()
    assert "| speed-up | 16 tokens | 32 tokens |" in text
    assert "| Kt/s | 16 tokens | 32 tokens |" in text
    assert "| head dim 32 |" in text and "| GLA |" in text and "| DeltaNet + attention |" in text
    samples = json.loads((tmp_path / "figures.json").read_text())
    assert all(
        s > 0 for line in samples["steps"].values() for point in line.values() for s in point
    )
    assert "thousand tokens per second" in (tmp_path / "figures.html").read_text()
    assert "Kt/s" in capsys.readouterr().out
    monkeypatch.setattr(
        sys, "argv", ["paper_figures.py", "--out", "x", "--tokens", "32", "--lengths", "12"]
    )
    with pytest.raises(SystemExit):
        paper_figures.main()
    assert "must divide the 32 tokens" in capsys.readouterr().err
