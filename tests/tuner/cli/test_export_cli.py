"""``gdn export`` as a user types it: what it writes and says, and what it refuses in one line."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.targets import TARGETS
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.spaces.space import plans_for
from gdn_ops.tuner.spaces.workloads import decode, prefill
from tests.results import Bench

PREFILL, DECODE = prefill(tokens=4096), decode(sequences=32)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    bench = Bench(tmp_path / "tuned.db")
    bench.win(PREFILL, variant=Variant.default("fused1", PREFILL))
    bench.win(DECODE, variant=Variant.default("recurrent", DECODE), predicted=True)
    refused = Variant.of("split", PREFILL, {"store": "fp32"})
    bench.win(prefill(tokens=1024), variant=refused)
    return bench.close()


def test_a_wheel_is_written_and_can_be_verified(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dist"
    assert run(["export", "wheel", "-o", str(out), "--db", str(database)]) == 0
    said = capsys.readouterr()
    (wheel,) = out.iterdir()
    assert wheel.name.startswith("gdn_ops_lib_h200-") and wheel.suffix == ".whl"
    assert "h200: 2 winners (1 predicted, 1 stale)" in said.out
    assert "is left out" in said.err and "L1024" in said.err
    assert run(["export", "verify", str(out)]) == 0
    assert "can be imported without gdn-ops" in capsys.readouterr().out
    content = wheel.read_bytes()
    with zipfile.ZipFile(wheel) as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
    middle = largest.header_offset + largest.compress_size // 2
    for place in range(middle, middle + 8):
        # some of these break the compressed data, the others only what they stand for
        wheel.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert run(["export", "verify", str(wheel)]) == 1
        assert wheel.name in capsys.readouterr().err.replace("\n", "")


def test_a_workload_selects_problems(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "dist"
    arguments = ["export", "wheel", "decode", "--db", str(database), "-o", str(out)]
    assert run([*arguments, "--target", "h200"]) == 0
    assert "h200: 1 winner (1 predicted)" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "files"), [("table", 4), ("t4", 2)])
def test_folders_of_json_are_written_and_can_be_verified(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, files: int
) -> None:
    out = tmp_path / "out"
    bench = Bench(database)
    space = plans_for(DECODE.bucket(), TARGETS["h200"], ["recurrent"])["recurrent"][0][0]
    bench.record(space.key(space.configs[0]))
    bench.record(replace(space.key(space.configs[0]), plan="gone"))
    variant = Variant.default("recurrent", DECODE)
    bench.win(DECODE, target="a100", arch="sm_80", variant=variant, predicted=True)
    bench.close()
    assert run(["export", name, "-o", str(out), "--db", str(database)]) == 0
    said = capsys.readouterr()
    assert len(list(out.iterdir())) == files and f"{name}.manifest.json" in said.out
    assert ("unknown plan 'gone'" in said.err) == (name == "t4")
    expected = {"table": "h200: 2 winners (1 predicted, 1 stale)", "t4": "h200: 1 search space, "}
    assert expected[name] in said.out
    assert ("target a100 is left out: there are no trials" in said.err) == (name == "t4")
    assert ("a100: 1 winner" in said.out) == (name == "table")
    assert run(["export", "verify", str(out), str(out)]) == 0
    assert "is as it was exported, and so is every file that it lists" in capsys.readouterr().out
    first = min(out.iterdir())
    first.write_bytes(first.read_bytes()[:-1])
    assert run(["export", "verify", str(out)]) == 1
    assert first.name in capsys.readouterr().err.replace("\n", "")


def test_many_files_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = Bench(tmp_path / "r.db")
    for V in (32, 64, 128):
        for HV in (16, 32, 48, 64):
            problem = decode(sequences=8, HV=HV, V=V).bucket()
            bench.win(problem, variant=Variant.default("recurrent", problem), predicted=True)
    out = tmp_path / "out"
    assert run(["export", "table", "-o", str(out), "--db", str(bench.close())]) == 0
    assert f"{out}  13 files, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wheel"], "gdn export wheel needs a folder to write to; give -o FOLDER."),
        (
            ["whl", "-o", "{out}"],
            "unknown format 'whl'; did you mean 'wheel'? Known: cubin, hf, ",
        ),
        (["wheel", "-o", "{full}"], "is not empty (it has file)"),
        (["hf", "-o", "{out}", "--db", "{db}", "--target", "h100"], "no winners for target h100"),
        (["hf", "-o", "{full}/file/in"], "Not a directory; give a folder that is new or empty"),
        (["wheel", "nothing", "-o", "{out}", "--db", "{db}"], "unknown workload 'nothing'"),
        (["wheel", "-o", "{out}", "--db", "{db}", "--target", "h100"], "nearest target with"),
        (["wheel", "-o", "{out}", "--db", "{full}/no.db"], "there is no results database at"),
        (["wheel", "decode", "prefill", "-o", "{out}"], "one workload or file of problems is"),
        (
            ["wheel", "train", "-o", "{out}", "--db", "{db}"],
            "of train; run `gdn tune train` on the device",
        ),
        (["verify", "{db}"], "tuned.db is no export of gdn-ops; give what `gdn export` wrote"),
        (["verify"], "gdn export verify needs the exported file or folder; give its path."),
        (["verify", "{out}"], "there is nothing at"),
        (["verify", "{full}"], "is no export of gdn-ops and has none in it"),
        (["verify", "{full}", "-o", "x", "--target", "h200"], "-o, --target is not read by verify"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(
    database: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    says: str,
) -> None:
    places = {"out": tmp_path / "dist", "full": tmp_path / "full", "db": database}
    places["full"].mkdir()
    (places["full"] / "file").write_text("")
    assert run(["export", *(a.format(**places) for a in arguments)]) in (1, 2)
    error = " ".join(capsys.readouterr().err.split())
    assert says in error and "Traceback" not in error
    assert not places["out"].exists()
