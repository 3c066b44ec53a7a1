"""The other commands: what they refuse in one line, what they say beside, what they print."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

from gdn_ops._version import __version__
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.choice import Choice
from gdn_ops.dispatch.explanation import _explanation
from gdn_ops.dispatch.results_errors import results_error
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.errors import GdnError, InvalidInput, LaunchError
from gdn_ops.results_path import expanded, shipped_database
from gdn_ops.tuner.cli import doctor, run
from gdn_ops.tuner.cli.exit_codes import exit_code_of
from gdn_ops.tuner.cli.predict import _stacked
from gdn_ops.tuner.cli.render import _remedy
from gdn_ops.tuner.report import console
from gdn_ops.tuner.report.live_view import LiveView
from gdn_ops.tuner.report.progress import LinesView, Note
from gdn_ops.tuner.spaces.workloads import WORKLOADS
from gdn_ops.tuner.store.server_errors import ServerGone
from gdn_ops.tuner.workers.offline import CompileRow
from tests.json_documents import documented
from tests.problems import FORWARD
from tests.results import ENVIRONMENT, Bench

ESCAPES = "\x1b]0;owned\x07\x1b[2JH\x9b31mPU\x00"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bench", "tiny", "--seconds", "inf"], "--seconds is inf; it must be > 0"),
        (["bench", "tiny", "--seconds", "nan"], "--seconds is nan; it must be > 0"),
        (["compile", "--target", "h200", "--timeout", "inf"], "--timeout is inf; it must be > 0"),
        (["compile", "--target", "h200", "--jobs", "0"], "--jobs is 0; it must be > 0"),
        (
            ["compile", "--target", "h200", "--plan", "torch"],
            "plan torch is plain PyTorch and has no GPU kernels",
        ),
        (["compile", "--target", "h200", "--plan", "cpp"], "plan cpp is C++ for CPUs and has no"),
        (["compile", "--target", "h200", "--stage", "torch_chunk"], "is plain PyTorch"),
        (["predict", "--target", "mi300x"], "mi300x is not predicted: the cost model counts"),
        (["show", "--target", "h20O"], "unknown target 'h20O'; did you mean 'h20'? Known: a10"),
        (["show", "--target", "qqqqqq"], "unknown target 'qqqqqq'. Known: a10"),
        (["show", "--db", "~nobody-by-this-name/r.db"], "--db is ~nobody-by-this-name/r.db"),
        (["tune", "tiny", "--db", "~nobody-by-this-name/r.db"], "its home folder cannot be found"),
        (["explain", "--raw-gate", "--gate", "none"], "a rule without a gate"),
        (["explain", "--tokens", "9" * 5000], "--tokens"),
        (["render", "split", "--set", f"{'A' * 9999}=1"], "unknown axis of plan split 'AAA"),
        (["render", "split", "--set", "A" * 9999], "is not AXIS=VALUE"),
        (["render", "#00000000"], "no stored winner has the id '#00000000'"),
        (["render", "split BT"], "'BT' is not AXIS=VALUE"),
        (["render", "split BT=32", "--set", "BT=64"], "is a whole variant; leave out one"),
        (["render", "bwd_dh"], "; it is used with --backward."),
        (["render", "chunk_scores"], "; it is used with --gate vector."),
        (["render", "torch_chunk", "--decode"], "; it is used without these options."),
        (
            ["render", "pool_decode"],
            "; only calls of gdn_ops.serving use it, which no option describes.",
        ),
        (["render", "split", "--set", f"BT={'1' * 9999}"], "is not a value of this axis"),
    ],
)
def test_bad_input_is_one_short_line_and_exit_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, error = capsys.readouterr()
    assert says in error and not out
    assert error.count("\n") == 1 and len(error) < 600, error


def test_a_name_is_listed_once_among_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["render", "nonsense"]) == 2
    known = capsys.readouterr().err.partition("Known: ")[2].rstrip(".\n").split(", ")
    assert "recurrent" in known and len(known) == len(set(known))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["split", "--decode"], "on h200: plan split works on chunks"),
        (["solve", "--dtype", "fp32", "--set", "dot=native"], "dot=native needs 16-bit"),
        (["split", "--target", "cpu"], "on cpu: plan split is made of GPU kernels"),
    ],
)
def test_source_that_is_never_run_is_printed_with_the_reason_beside(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["render", *arguments]) == 0
    out, error = capsys.readouterr()
    assert "@triton.jit" in out and "would not run" not in out
    assert "this would not run" in error and says in error and error.count("\n") == 1


def test_source_that_runs_has_nothing_beside(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("split", "torch", "solve"):
        assert run(["render", name]) == 0
        assert capsys.readouterr().err == ""


def test_a_variant_is_rendered_as_other_commands_print_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By its text, by its id, which also names its problem, or by both."""
    winner = next(
        w
        for w in read_winners(shipped_database()).winners
        if w.target == "h200" and w.facts["K"] == 128
    )
    ids = {winner.variant_id, winner.variant_id[-12:-4], f"#{winner.variant_id[-12:-4]}"}
    found = []
    for name in (*ids, winner.named):
        assert run(["render", name, "--json"]) == 0
        found.append(documented(capsys.readouterr().out))
    assert all(document == found[0] for document in found)
    assert found[0]["variant"] == winner.variant
    text = "split BT=32 chunk_h(BV=32)"
    assert run(["render", text, "--H", "4", "--json"]) == 0
    document = documented(capsys.readouterr().out)
    assert document["variant_id"] == Variant.from_text(text, FORWARD).id
    assert "-H4-" in document["problem_id"]


def test_a_stage_that_no_plan_has_is_to_be_added_to_one() -> None:
    assert _remedy("attention", FORWARD).startswith("no plan has it; add it to the stages of")


def test_every_stage_but_those_of_pools_is_printed_with_some_options() -> None:
    remedies = {stage: _remedy(stage, FORWARD) for stage in KERNELS}
    beyond = {stage for stage, remedy in remedies.items() if "gdn_ops.serving" in remedy}
    assert beyond == {"pool_decode", "torch_pool"}


def test_verify_has_nothing_to_check_on_a_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDN_VERIFY", "never")
    assert run(["verify", "tiny", "--device", "cpu", "--again"]) == 0
    said = capsys.readouterr().out
    assert said.count("PyTorch or C++") == 3
    assert said.endswith("2 problems on cpu: 2 on PyTorch or C++, which is not verified.\n")
    assert os.environ["GDN_VERIFY"] == "never", "--again holds for this command only"


def test_a_wrong_command_line_is_told_in_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "x"]) == 2
    assert capsys.readouterr().err.endswith("(x). See `gdn doctor --help`.\n")
    assert run(["show", "--nothing"]) == 2
    assert capsys.readouterr().err.endswith("--nothing. See `gdn show --help`.\n")


def test_version_prints_the_packages_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    out, error = capsys.readouterr()
    assert out == f"gdn-ops {__version__}\n" and not error


def test_the_help_names_every_workload(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tune", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}," in said or f"{name} (the default)," in said for name in WORKLOADS)


def test_predictions_that_ship_are_shown_for_a_target_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "shipped.db")
    bench.win(target="h100", predicted=True)
    path = bench.close()
    monkeypatch.setattr("gdn_ops.dispatch.winner.shipped_database", lambda: path)
    assert run(["show", "--db", str(path)]) == 0
    out = capsys.readouterr().out
    assert (
        "no winners in" in out and "shipped predictions for 1 GPU; `gdn show --target h100`" in out
    )
    assert run(["show", "--db", str(path), "--target", "h100"]) == 0
    assert "predicted" in capsys.readouterr().out


def test_a_prediction_is_shown_without_what_only_measured_rows_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "r.db")
    bench.win(predicted=True)
    path = bench.close()
    (winner,) = read_winners(path).winners
    assert not winner.stale
    assert run(["show", "--db", str(path)]) == 0
    out = capsys.readouterr().out
    assert "predicted" in out and "stale" not in out and ".." not in out
    variant = Variant.default("torch", FORWARD)
    choice = Choice(FORWARD, target_named("h200"), variant, "predicted", winner, ())
    text = str(_explanation(choice))
    assert f"because  predicted winner: stored in {path}" in text
    assert "plan split: `gdn predict` expects plan torch to be faster" in text
    assert "None" not in text and "[" not in text and "stale" not in text


def test_a_target_with_rows_is_known_and_control_characters_are_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "r.db", replace(ENVIRONMENT, device=f"{ESCAPES} 9000"))
    bench.win(target="my-own-gpu")
    path = bench.close()
    assert run(["show", "--db", str(path), "--target", "my-own-gpu"]) == 0
    out = capsys.readouterr().out
    assert "my-own-gpu" in out and r"PU\x00 9000" in out
    assert not any(character in out for character in "\x1b\x07\x9b\x00")


def test_a_narrow_terminal_gets_three_lines_per_winner(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "r.db")
    bench.win(FORWARD, variant=Variant.default("split", FORWARD.bucket()))
    path = bench.close()
    monkeypatch.setattr(console, "width", lambda: 80)
    assert run(["show", "--db", str(path)]) == 0
    problem, variant, told, *_ = capsys.readouterr().out.splitlines()
    assert problem == f"{FORWARD.bucket().id()} on h200"
    assert variant.startswith("    split ")
    assert "the reference's speed, measured, stale, row 1" in told


def test_what_is_printed_has_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(ESCAPES)
    console.fail(ESCAPES)
    console.remark(ESCAPES)
    console.table(("a",), [(ESCAPES,)])
    stream = io.StringIO()
    LinesView(stream)(Note(text=ESCAPES))
    live = io.StringIO()
    view = LiveView(Console(file=live, width=80))
    view(Note(text=ESCAPES))
    text = "".join((*capsys.readouterr(), stream.getvalue(), live.getvalue()))
    assert text.count("owned") == 6
    assert not any(character in text for character in "\x1b\x07\x9b\x00")


def test_compile_tells_the_traffic_of_a_backward_by_what_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = CompileRow(plan="split", stage="bwd_gate", target="h200", config={}, status="ok")
    monkeypatch.setattr("gdn_ops.tuner.workers.offline.compile_variants", lambda *_, **__: [row])
    assert run(["compile", "--target", "h200", "--backward", "--json"]) == 0
    answer, told = capsys.readouterr()
    said = " ".join(told.split())
    assert documented(answer)["traffic"] == [
        {"plan": "split", "bytes_per_token_and_value_head": 9276.0}
    ]
    assert "plan split, by its defaults: 9276 bytes per token and value head" in said
    assert ", 9008 with 132 of inverse kept, 6564 with 1156 of states kept" in said


def test_doctor_names_all_providers_in_one_line() -> None:
    (named,) = [found for what, found, _ in doctor._software([]) if what == "providers"]
    names = [each.split()[0] for each in named.split(", ")]
    assert names == [*PROVIDERS] and len(names) > 1
    assert f"transformers {version('transformers')}" in named


def test_a_full_disk_of_standard_output_is_said_in_one_line() -> None:
    code = "from gdn_ops.tuner.cli import main; main(['--version'])"
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr.startswith("gdn: cannot write the output: No space left on device")
    assert done.stderr.count("\n") == 1


def test_doctor_finds_that_pytorch_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[str] = []
    monkeypatch.setitem(sys.modules, "torch", None)
    assert list(doctor._targets(faults)) == []
    assert len(faults) == 1 and "torch cannot be imported: ModuleNotFoundError" in faults[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (results_error(Path("r.db"), OSError("file is not a database")), 2),
        (results_error(Path("r.db"), PermissionError(13, "Permission denied")), 2),
        (results_error(Path("r.db"), OSError("database is locked")), 1),
        (ServerGone("the server is away"), 1),
        (InvalidInput("K=0"), 2),
        (LaunchError("no room"), 1),
    ],
)
def test_what_the_user_can_set_right_exits_with_2(error: GdnError, code: int) -> None:
    assert exit_code_of(error) == code


def test_a_folder_is_writable_if_a_file_can_be_made_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert doctor._writable(tmp_path / "not" / "yet")
    assert not doctor._writable(tmp_path / "file" / "cache")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"], "nothing is left behind"


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs a folder nobody may write to")
def test_root_may_not_write_everywhere() -> None:
    assert not doctor._writable(Path("/proc/cache"))


def test_a_home_folder_is_resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded(Path("~/r.db"), "--db") == tmp_path / "r.db"


@pytest.mark.parametrize("command", ["show", "--help", "render"])
def test_a_reader_that_leaves_is_no_failure(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ``gdn show | head``."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert run([command]) == 0


def test_an_interruption_while_modules_are_imported_is_one_line(monkeypatch, capsys):
    class Interrupted:
        def find_spec(self, name, *_):
            if name == "gdn_ops.tuner.cli.application":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "gdn_ops.tuner.cli.application")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert run(["show"]) == 130
    assert capsys.readouterr().err == "gdn: interrupted before anything was done.\n"


def test_an_interruption_of_a_command_is_one_line(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gdn_ops.tuner.export.selection.described", interrupted)
    assert run(["export", "wheel", "-o", "nowhere"]) == 130
    assert capsys.readouterr().err == "gdn: interrupted; nothing that was stored is lost.\n"


def test_show_sorts_sizes_as_numbers_and_says_what_it_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "r.db")
    for tokens in (2048, 512, 65536, 1024):
        bench.win(replace(FORWARD, tokens=tokens))
    path = str(bench.close())
    assert run(["show", "--db", path]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"-L(\d+)-", shown) == ["512", "1024", "2048", "65536"]
    assert "--limit" not in shown
    assert run(["show", "--db", path, "--limit", "2"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"-L(\d+)-", shown) == ["512", "1024"]
    assert "the first 2 of 4 winners" in shown
    assert run(["show", "--db", path, "--problem", "L2048"]) == 0
    assert re.findall(r"-L(\d+)-", capsys.readouterr().out) == ["2048"]


def test_a_prediction_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    columns = ("problem", "variant", "predicted>", "90 % interval>", "time / best>", "sure>")
    axes = " ".join(f"axis{i}=value{i}" for i in range(10))
    row = (FORWARD.id(), f"split scan({axes})", "62.8 us", "50.1 us .. 78.2 us", "1.00x", "81 %")
    for width, whole in ((80, False), (120, False), (300, True)):
        monkeypatch.setenv("COLUMNS", str(width))
        assert console.width() == width and console.fits(columns, [row]) is whole
        problem, told, *variant = _stacked(row, width).splitlines()
        assert problem == FORWARD.id() and max(map(len, (told, *variant))) <= width
        assert told == "  62.8 us [50.1 us .. 78.2 us], 1.00x the best, surely best 81 %"
        assert " ".join(line.strip() for line in variant) == row[1]
