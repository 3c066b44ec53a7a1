"""The recall example: its tasks are what they say, it trains, and writes its table and plot."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def recall(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("plotly")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import recall

    return recall


def test_help() -> None:
    pytest.importorskip("plotly")
    command = [sys.executable, str(EXAMPLES / "recall.py"), "--help"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--tune" in out
    assert "see what the delta rule is for" in out


def test_mqar_asks_for_what_was_told(recall: ModuleType) -> None:
    tokens, targets = recall.TASKS["MQAR"].sample(torch.Generator().manual_seed(0), 5, 7)
    assert tokens.shape == targets.shape == (5, 21)
    assert targets[:, :14].eq(recall.IGNORED).all()
    for told, questions, answers in zip(
        tokens[:, :14], tokens[:, 14:], targets[:, 14:], strict=True
    ):
        memory = dict(told.view(7, 2).tolist())
        assert len(memory) == 7
        assert sorted(questions.tolist()) == sorted(memory)
        assert [memory[key] for key in questions.tolist()] == answers.tolist()


def test_the_needle_is_asked_for_at_the_end(recall: ModuleType) -> None:
    tokens, targets = recall.TASKS["needle"].sample(torch.Generator().manual_seed(0), 200, 11)
    assert targets[:, :-1].eq(recall.IGNORED).all()
    places = set()
    for row, target in zip(tokens.tolist(), targets[:, -1].tolist(), strict=True):
        assert row[-1] == 16
        place = row.index(16)
        assert row[place + 1] == target > 16
        rest = [(x - i) % 16 for i, x in enumerate(row[:-1]) if i not in (place, place + 1)]
        assert len(set(rest)) == 1, "the sentence repeats"
        places.add(place)
    assert places == set(range(9))


@pytest.mark.parametrize("title", ["MQAR", "needle"])
def test_batches_grow_and_repeat_with_the_seed(title: str, recall: ModuleType) -> None:
    task = recall.TASKS[title]
    first, again = (list(task.batches(3, 20)) for _ in range(2))
    lengths = [tokens.shape[1] for tokens, _ in first]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[9] == lengths[-1]
    assert len(first[-1][0]) == task.sequences
    assert all(
        a.equal(b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True)
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_a_model_learns_to_recall_one_pair(recall: ModuleType, seed: int) -> None:
    """Without recall the loss is at least that of a guess among 32 values, 3.5; it ends near 1."""
    task = recall.Task(recall.TASKS["MQAR"].sample, "pairs", 1, 1, (1,), 64, 100)
    net = recall.trained(task, recall.MODELS["DeltaNet"], seed, lr=1e-2, budget=1.0)
    tokens, targets = task.sample(torch.Generator().manual_seed(99), 128, 1)
    asked = targets != recall.IGNORED
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(net(tokens)[0][asked], targets[asked])
    assert loss < math.log(32) - 1
    assert recall.accuracy(net, task, 1, 1) > 4 / 32


def test_it_writes_a_table_and_a_plot(recall, monkeypatch, tmp_path, capsys) -> None:
    argv = ["recall.py", "--out", str(tmp_path), "--budget", "0.002", "--seeds", "2", "--tune"]
    monkeypatch.setattr(sys, "argv", [*argv, "--threads", "1", "--models", "DeltaNet", "SWA"])
    for title, task in recall.TASKS.items():
        monkeypatch.setitem(
            recall.TASKS, title, dataclasses.replace(task, tested=(task.first, task.last))
        )
    threads = torch.get_num_threads()
    try:
        assert recall.main() == 0
    finally:
        torch.set_num_threads(threads)
    text = (tmp_path / "recall.md").read_text()
    assert "| MQAR | parameters | 2 pairs | 16 pairs | rate | seconds |" in text
    assert "| needle | parameters | 8 tokens | 64 tokens | rate | seconds |" in text
    assert text.count("| DeltaNet | 46,544 |") == text.count("| SWA |") == 2
    assert "mean and range of 2 seed(s)" in text
    assert torch.__version__ in text
    html = (tmp_path / "recall.html").read_text()
    assert "Gated DeltaNet" not in html
    assert '"name":"DeltaNet"' in html
    assert capsys.readouterr().out.count("tune  ") == 4
