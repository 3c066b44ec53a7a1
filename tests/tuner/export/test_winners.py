"""Format winners: a database per target with its digest, which ``gdn merge`` takes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.export.folder import write_all
from gdn_ops.tuner.export.formats import winners
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.export.verification import exports_in
from gdn_ops.tuner.spaces.workloads import prefill
from gdn_ops.tuner.store.merge_files import merge_files
from tests.results import HANG, OK, Bench, stage_key

PROBLEM = prefill(tokens=4096).bucket()


def _tuned(path: Path, *targets: tuple[str, str]) -> Path:
    bench = Bench(path)
    for target, arch in targets:
        variant = Variant.default("fused1", PROBLEM)
        bench.win(PROBLEM, target=target, arch=arch, variant=variant)
    bench.record(stage_key(PROBLEM, BV=32), HANG)
    return bench.close()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    database = _tuned(tmp_path / "r.db", ("h200", "sm_90"), ("a100", "sm_80"))
    write_all(tmp_path / "out", winners.exported(described([database])))
    return tmp_path / "out"


def test_each_target_has_a_database_and_its_digest(export: Path) -> None:
    names = sorted(path.name for path in export.iterdir())
    expected = [f"{t}{end}" for t in ("a100", "h200") for end in (".db", ".db.sha256", ".json")]
    assert names == expected
    (winner,) = read_winners(export / "h200.db").winners
    assert (winner.problem_id, winner.target) == (PROBLEM.id(), "h200")
    assert (export / "h200.db.sha256").read_text() == "".join(
        f"{hashlib.sha256((export / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("h200.db", "h200.json")
    )
    assert [found.faults(path) for path, found in exports_in(export)] == [[], []]


def test_the_proof_is_beside_it(export: Path) -> None:
    facts = json.loads((export / "h200.json").read_bytes())
    (winner,) = facts["winners"]
    assert winner["problem"] == PROBLEM.id() and winner["environment"]["driver"] == "590.1"
    assert winner["samples"] == list(OK.samples)
    assert [denied["status"] for denied in facts["denied"]] == ["timeout"]
    assert facts["licence"] == "Apache-2.0"
    (export / "h200.json").write_bytes(b"{}")
    assert winners.faults(export / "h200.db") == [
        "h200.json is not the file that was exported; export it again."
    ]


def test_a_winner_that_merge_refuses_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "x.db")
    bench.win(PROBLEM, variant=Variant.of("split", PROBLEM, {"store": "fp32"}))
    content = bench.close().read_bytes()
    path = tmp_path / "out" / "x.db"
    lines = [winners._line("x.db", content), winners._line("x.json", b"{}")]
    files = {"x.db": content, "x.json": b"{}", "x.db.sha256": "".join(lines).encode()}
    write_all(path.parent, files)
    (fault,) = winners.faults(path)
    assert PROBLEM.id() in fault and "cannot be used: " in fault


def test_two_exports_have_the_same_bytes(export: Path, tmp_path: Path) -> None:
    again = winners.exported(described([tmp_path / "r.db"]))
    assert again == {path.name: path.read_bytes() for path in export.iterdir()}


def test_merge_takes_them(export: Path, tmp_path: Path) -> None:
    into = tmp_path / "all.db"
    merged = merge_files([export / "h200.db", export / "a100.db"], into)
    assert merged.count("taken") == 2 and not merged.refused
    assert {winner.target for winner in read_winners(into).winners} == {"h200", "a100"}


def test_an_altered_byte_and_a_missing_digest_are_named(export: Path) -> None:
    path = export / "h200.db"
    content = bytearray(path.read_bytes())
    for at in (0, 30, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        assert winners.faults(path) == [
            "h200.db is not the file that was exported; export it again."
        ]
    path.write_bytes(content)
    assert winners.faults(path) == []
    digest = export / "h200.db.sha256"
    recorded = digest.read_bytes()
    for at in (0, 63, 64, 66, len(recorded) // 2 + 1, len(recorded) - 2):
        digest.write_bytes(recorded[:at] + bytes([recorded[at] ^ 1]) + recorded[at + 1 :])
        assert winners.faults(path) == [
            "h200.db.sha256 is not the file that was exported; export it again."
        ]
    digest.unlink()
    (fault,) = winners.faults(path)
    assert "its digest h200.db.sha256 cannot be read" in fault


def test_a_database_that_was_not_exported_is_no_export(tmp_path: Path) -> None:
    database = _tuned(tmp_path / "r.db", ("h200", "sm_90"))
    with pytest.raises(InvalidInput, match=r"r.db is no export of gdn-ops; give what"):
        exports_in(database)
    (tmp_path / "folder.whl").mkdir()
    with pytest.raises(InvalidInput, match="is no export of gdn-ops and has none in it"):
        exports_in(tmp_path)


def test_a_file_that_is_no_database_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"text")
    (tmp_path / "x.json").write_bytes(b"text")
    digest = hashlib.sha256(b"text").hexdigest()
    (tmp_path / "x.db.sha256").write_text(f"{digest}  x.db\n{digest}  x.json\n")
    (fault,) = winners.faults(path)
    assert "is not an SQLite database" in fault


def test_two_targets_with_one_name_are_refused(tmp_path: Path) -> None:
    database = _tuned(tmp_path / "r.db", ("my gpu", "sm_90"), ("my-gpu", "sm_90"))
    with pytest.raises(InvalidInput, match=r"two targets make the same file my-gpu.db"):
        winners.exported(described([database]))
