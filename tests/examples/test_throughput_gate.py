"""The example makes kernels slower and not wrong, and says whether `gdn check` found them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.tuner.check.static.pinned import needs_pinned_triton

EXAMPLES = Path(__file__).parents[2] / "examples"
REPORT = '<testsuites><testsuite><testcase><{} type="{}"/></testcase></testsuite></testsuites>'
FAKE = """
import sys
files = dict(word.split("=") for word in sys.argv if word.count("=") == 1)
for file in files.values():
    open(file, "w").write({report!r})
print("asked:", *sys.argv[1:])
sys.exit({code})
"""
RESULT = """
import hashlib
import torch
import gdn_ops

torch.manual_seed(0)
q, k = torch.randn(2, 1, 512, 2, 64)
v, g, beta = torch.randn(1, 512, 4, 64), -torch.rand(1, 512, 4), torch.rand(1, 512, 4)
k = torch.nn.functional.normalize(k, dim=-1)
o, state = gdn_ops.chunk_gated_delta_rule(q, k, v, g, beta, output_final_state=True)
print(gdn_ops.__file__, hashlib.sha256(o.numpy().tobytes() + state.numpy().tobytes()).hexdigest())
"""


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import throughput_gate

    return throughput_gate


def run(example: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["throughput_gate.py", *arguments])
    code: int = example.main()
    return code


def pretend(example: ModuleType, monkeypatch: pytest.MonkeyPatch, code: int, report: str) -> None:
    """Put a command in place of ``gdn`` that ends with a code and writes a report."""
    script = FAKE.format(code=code, report=report)
    monkeypatch.setattr(example, "COMMAND", (sys.executable, "-c", script))


def test_help() -> None:
    command = [sys.executable, str(EXAMPLES / "throughput_gate.py"), "--help"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--only" in out
    assert "let `gdn check` find both" in out


@needs_pinned_triton
@pytest.mark.exhaustive
def test_the_static_check_finds_the_wide_tile(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(example, monkeypatch, "--out", str(tmp_path), "--only", "static") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"static.log", "static.xml", "static.md"}
    log = (tmp_path / "static.log").read_text()
    assert '+{{ constant("BV", 4 * BV,' in log
    assert "$ gdn check --static --target sm_90" in log
    assert log.endswith("$ echo $?\n1\n")
    for report in ("static.log", "static.xml", "static.md"):
        text = (tmp_path / report).read_text()
        assert "decode/recurrent/recurrent" in text
        assert "stack 0 -" in text
        assert str(tmp_path.parent) not in text


@pytest.mark.exhaustive
def test_both_are_caught(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(example, monkeypatch, "--out", str(tmp_path), "--tokens", "512") == 0
    assert "regressed" in (tmp_path / "measured.md").read_text()


def test_the_measured_change_leaves_the_results_as_they_are(
    example: ModuleType, tmp_path: Path
) -> None:
    copy = example.Copy(tmp_path / "copy", [512])

    def result() -> list[str]:
        command = [sys.executable, "-c", RESULT]
        done = subprocess.run(command, cwd=copy.folder, capture_output=True, text=True, check=True)
        return done.stdout.split()

    before = result()
    assert Path(before[0]).is_relative_to(copy.folder)
    copy.make(next(change for change in example.CHANGES if change.name == "measured"))
    assert copy.git("diff", "--numstat").split() == ["1", "0", example.CHANGES[1].file]
    assert result() == before


@pytest.mark.parametrize(
    ("code", "report", "expected"),
    [
        (1, REPORT.format("failure", "regression"), 0),
        (0, REPORT.format("failure", "regression"), 1),
        (1, REPORT.format("error", "crash"), 1),
        (1, REPORT.format("failure", "accuracy"), 1),
    ],
)
def test_only_a_regression_counts_as_caught(
    code: int,
    report: str,
    expected: int,
    example: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretend(example, monkeypatch, code, report)
    assert run(example, monkeypatch, "--out", str(tmp_path), "--seconds", "0.05") == expected
    out = capsys.readouterr().out
    assert out.count(": caught") == (0 if expected else 2)
    measured = (tmp_path / "measured.log").read_text()
    assert "asked: check prompts.json --device cpu --threads 1 --seconds 0.05" in measured
    assert (tmp_path / "measured.xml").read_text() == report
    # the first change was undone before the second one was made
    assert "recurrent.py.jinja" not in measured


def test_a_template_that_has_changed_is_told(example: ModuleType, tmp_path: Path) -> None:
    copy = example.Copy(tmp_path / "copy", [512])
    copy.make(example.CHANGES[0])
    with pytest.raises(SystemExit, match="change the example"):
        copy.make(example.CHANGES[0])
