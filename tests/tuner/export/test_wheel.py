"""The wheel: the same bytes twice, what is in it, and its digests."""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import io
import json
import sqlite3
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.kernels import KERNELS
from gdn_ops.codegen.render import render
from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.data_file import read_data
from gdn_ops.tuner.export.formats import wheel
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.export.winners_database import winners_database
from gdn_ops.tuner.spaces.workloads import prefill, training
from gdn_ops.tuner.store.merge_files import merge_files
from tests.results import Bench, measured_winners

ROOT = Path(__file__).parents[3]


def _named(members: dict[str, bytes], ending: str) -> bytes:
    (found,) = [content for name, content in members.items() if name.endswith(ending)]
    return found


def _facts(members: dict[str, bytes], ending: str) -> Any:
    return json.loads(_named(members, ending))


def test_two_exports_of_the_same_winners_have_the_same_bytes(
    shipped_wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.chdir(tmp_path)
    again = wheel.exported(described([shipped_database()]))
    assert again == {shipped_wheel.name: shipped_wheel.read_bytes()}


def test_a_wheel_is_small(shipped_wheel: Path) -> None:
    assert shipped_wheel.stat().st_size < 2_500_000


def test_members_are_sorted_and_have_one_time(shipped_wheel: Path) -> None:
    with zipfile.ZipFile(shipped_wheel) as archive:
        infos = archive.infolist()
    names = [info.filename for info in infos]
    inside = [name for name in names if ".dist-info/" not in name]
    assert names[: len(inside)] == sorted(inside) and names[-1].endswith("/RECORD")
    assert names[len(inside) : -1] == sorted(names[len(inside) : -1])
    assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {info.external_attr >> 16 for info in infos} == {0o100644}
    assert {info.create_system for info in infos} == {3}


def test_the_time_is_source_date_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptions = described([shipped_database()])
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    (content,) = wheel.exported(descriptions).values()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {i.date_time for i in archive.infolist()} == {(2026, 1, 1, 0, 0, 0)}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(InvalidInput, match="SOURCE_DATE_EPOCH is 'yesterday'; it must be a whole"):
        wheel.exported(descriptions)


def test_record_has_the_digest_of_every_member(members: dict[str, bytes]) -> None:
    rows = list(csv.reader(io.StringIO(_named(members, "/RECORD").decode())))
    assert [row[0] for row in rows] == list(members)
    assert rows[-1][1:] == ["", ""]
    for name, digest, size in rows[:-1]:
        value = base64.urlsafe_b64encode(hashlib.sha256(members[name]).digest()).decode()
        assert (digest, size) == (f"sha256={value.rstrip('=')}", str(len(members[name])))


def test_metadata_names_what_pip_needs(members: dict[str, bytes], shipped_wheel: Path) -> None:
    metadata = email.message_from_bytes(_named(members, "/METADATA"))
    assert metadata["Metadata-Version"] == "2.4"
    assert metadata["License-Expression"] == "Apache-2.0"
    name, version = shipped_wheel.name.split("-")[:2]
    assert metadata["Name"].replace("-", "_") == name and metadata["Version"] == version
    project = read_data(ROOT / "pyproject.toml", kind="project")["project"]
    wanted = [x.replace('"', "'") for x in project["dependencies"] if not x.startswith("jinja2")]
    assert metadata.get_all("Requires-Dist") == wanted
    assert metadata["Requires-Python"] == project["requires-python"]
    assert b"Apache License" in _named(members, "licenses/LICENSE")
    assert f" = {name}\n".encode() in _named(members, "/entry_points.txt")


def test_the_bill_of_materials_names_the_versions(members: dict[str, bytes]) -> None:
    bill = _facts(members, ".cdx.json")
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    names = [part["name"] for part in bill["components"]]
    assert names == ["gdn-ops", "gdn-ops templates", "torch", "triton"]
    assert "timestamp" not in bill["metadata"] and "serialNumber" not in bill


def test_library_json_has_the_proof_of_every_winner(members: dict[str, bytes]) -> None:
    facts = _facts(members, "/library.json")
    shipped = measured_winners()
    assert len(facts["winners"]) == len(shipped)
    by_problem = {winner.problem_id: winner for winner in shipped}
    for winner in facts["winners"]:
        stored = by_problem[winner["problem"]]
        assert winner["trial"] == stored.trial_id and winner["median"] == stored.median
        assert min(winner["samples"]) <= stored.median <= max(winner["samples"])
        assert winner["environment"]["torch"] == stored.torch
        assert 0 < max(winner["errors"].values()) < 0.02
    assert facts["target"]["arch"] == shipped[0].arch
    assert facts["gdn_ops"]["templates"] != hashlib.sha256().hexdigest()
    assert facts["target"]["aliases"] == [shipped[0].device]


def test_the_database_has_the_same_winners(members: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "results.db").write_bytes(_named(members, "/results.db"))
    copied = read_winners(tmp_path / "results.db")
    assert not copied.skipped
    there = measured_winners()
    # rows have other numbers
    alike = {"database": there[0].database, "trial_id": None}
    here = [replace(winner, **alike) for winner in copied.winners]
    assert sorted(here, key=str) == sorted((replace(w, **alike) for w in there), key=str)
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    merged = merge_files([tmp_path / "results.db"], tmp_path / "all.db")
    assert merged.count("taken") == len(there) and not merged.refused


def test_winners_of_two_databases_are_in_one_library(tmp_path: Path) -> None:
    problems = [prefill(tokens=tokens).bucket() for tokens in (4096, 8192, 16384)]
    paths = []
    for name, which in (("a.db", problems[:2]), ("b.db", problems[1:])):
        bench = Bench(tmp_path / name)
        for problem in which:
            bench.win(problem, variant=Variant.default("fused1", problem))
        paths.append(bench.close())
    (description,) = described(paths)
    (tmp_path / "library.db").write_bytes(winners_database(description))
    found = read_winners(tmp_path / "library.db").winners
    assert sorted(w.problem_id for w in found) == sorted(p.id() for p in problems)
    assert winners_database(description) == (tmp_path / "library.db").read_bytes()


def test_a_library_for_a_gpu_has_the_kernels_that_gdn_ops_renders(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    problem = prefill(tokens=4096).bucket()
    forward = Variant.of("split", problem, {"BT": 32})
    gradients = training(tokens=4096).bucket()
    backward = Variant.default("fused", gradients)
    for p, variant in ((problem, forward), (gradients, backward)):
        bench.win(p, variant=variant)
    (content,) = wheel.exported(described([bench.close()])).values()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert _facts(members, "/library.json")["target"]["memory"] == 141 * 10**9
    stages = _facts(members, "/index.json")["stages"]
    packed = replace(problem, varlen=True, initial_state=True)
    for p, variant in ((problem, forward), (packed, forward), (gradients, backward)):
        files = stages[p.without_sizes().id()]
        for name, _ in variant.stages:
            config = variant.config(name)
            file = files[name][KERNELS[name].label(config)]
            assert _named(members, f"rendered/{file}.py").decode() == render(
                KERNELS[name], p, config
            )
    sources = [name for name in members if "/rendered/" in name]
    assert not any("torch_" in name for name in sources)


def test_a_library_for_each_target(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    problem = prefill(tokens=4096).bucket()
    for target, arch in (("h200", "sm_90"), ("a100", "sm_80")):
        bench.win(problem, target=target, arch=arch, variant=Variant.default("fused1", problem))
    database = bench.close()
    wheels = wheel.exported(described([database]))
    assert [name.split("-")[0] for name in wheels] == ["gdn_ops_lib_a100", "gdn_ops_lib_h200"]
    assert list(wheel.exported(described([database], targets=["h200"]))) == list(wheels)[1:]


def test_a_hostile_target_adds_nothing_to_the_metadata(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    problem = prefill(tokens=4096).bucket()
    target = "x\nRequires-Dist: evil\x1b[2J"
    bench.win(problem, target=target, variant=Variant.default("fused1", problem))
    ((name, content),) = wheel.exported(described([bench.close()])).items()
    assert name.startswith("gdn_ops_lib_x_requires_dist_evil_2j-")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    metadata = email.message_from_bytes(_named(members, "/METADATA"))
    assert metadata.get_all("Requires-Dist") == list(wheel.REQUIRES)
    assert "\x1b" not in _facts(members, "/index.json")["served"]["target"]


def test_two_targets_whose_names_make_one_package_are_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    problem = prefill(tokens=4096).bucket()
    for target in ("my gpu", "my-gpu"):
        bench.win(problem, target=target, variant=Variant.default("fused1", problem))
    with pytest.raises(InvalidInput, match="two targets make the same wheel gdn_ops_lib_my_gpu"):
        wheel.exported(described([bench.close()]))
