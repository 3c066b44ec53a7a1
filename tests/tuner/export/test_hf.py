"""Format hf: what ``kernels`` reads, the bytes, the proof, and what is refused."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.rule import Rule
from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.export.formats import hf
from gdn_ops.tuner.export.hub_metadata import identifier
from gdn_ops.tuner.export.library import Names
from gdn_ops.tuner.export.selection import described
from gdn_ops.tuner.export.verification import exports_in
from gdn_ops.tuner.spaces.workloads import decode, pool, prefill, training
from tests.results import Bench

VARIANT = "build/torch-cpu"


@pytest.fixture(scope="module")
def files(kernel: Path) -> dict[str, bytes]:
    return {p.relative_to(kernel).as_posix(): p.read_bytes() for p in kernel.rglob("*.*")}


def _metadata(files: dict[str, bytes], variant: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files[f"{variant}/metadata.json"])
    return found


def test_the_metadata_is_what_kernels_reads(files: dict[str, bytes]) -> None:
    metadata = _metadata(files, VARIANT)
    assert set(metadata) == {
        "id", "name", "version", "license", "python-depends", "backend", "digest", "gdn-ops",
    }  # fmt: skip
    assert re.fullmatch(r"[a-z][-a-z0-9]*[a-z0-9]", metadata["name"])
    package = metadata["name"].replace("-", "_")
    assert re.fullmatch(rf"_{package}_cpu_[0-9a-f]{{7}}", metadata["id"])
    assert (metadata["version"], metadata["license"]) == (1, "Apache-2.0")
    assert metadata["backend"] == {"type": "cpu"} and metadata["python-depends"] == []
    assert metadata["digest"]["algorithm"] == "sha256"
    digests = {
        name.removeprefix(f"{VARIANT}/"): base64.b64encode(hashlib.sha256(data).digest()).decode()
        for name, data in files.items()
        if name.startswith(VARIANT) and not name.endswith("/metadata.json")
    }
    assert metadata["digest"]["files"] == digests


def test_the_modules_import_relatively_and_nothing_but_torch_and_triton(
    files: dict[str, bytes],
) -> None:
    modules = {n: d for n, d in files.items() if n.startswith(VARIANT) and n.endswith(".py")}
    assert f"{VARIANT}/layers.py" in modules and f"{VARIANT}/__init__.py" in modules
    name = _metadata(files, VARIANT)["id"]
    for path, data in modules.items():
        assert b"autotune" not in data, path
        for node in ast.walk(ast.parse(data)):
            if isinstance(node, ast.Import):
                assert {a.name.split(".")[0] for a in node.names} <= ALLOWED, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert node.module is not None and node.module.split(".")[0] in ALLOWED, path
            elif isinstance(node, ast.ImportFrom):
                inside = path.removeprefix(f"{VARIANT}/").split("/")
                assert node.level == len(inside), path
    code = b"".join(modules.values()).decode()
    assert set(re.findall(r"torch\.ops\.(\w+)|custom_op\(\"(\w+)::", code)) == {
        (name, ""), ("", name),
    }  # fmt: skip


ALLOWED = {"torch", "triton", *sys.stdlib_module_names}


def test_two_exports_have_the_same_bytes(tiny: Path, kernel: Path, files: dict[str, bytes]) -> None:
    again = hf.exported(described([tiny]))
    named = {f"{kernel.name}/{name}": data for name, data in files.items()}
    licence = {f"{kernel.name}/LICENSE": (kernel / "LICENSE").read_bytes()}
    assert again == named | licence


def test_the_id_changes_with_every_byte_of_every_file() -> None:
    names, files = Names("h200", "2026.11.29.1"), {"a.py": b"1", "b/c.py": b""}
    others = ({**files, "a.py": b"2"}, {"b/c.py": b"1", "a.py": b""}, {**files, "d": b""}, {})
    ids = {identifier(names, "cuda", x) for x in (files, *others)}
    assert len(ids) == 5
    assert identifier(names, "cuda", dict(reversed(files.items()))) in ids


def test_what_people_read_says_what_was_measured(kernel: Path, files: dict[str, bytes]) -> None:
    text = (kernel / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: kernels\nlicense: apache-2.0\n")
    library = json.loads(files[f"{VARIANT}/library.json"])
    assert len(library["winners"]) == 4
    for winner in library["winners"]:
        (row,) = [line for line in text.splitlines() if f"| {winner['problem']} | " in line]
        assert re.search(r" \| torch[^|]* \| 2 ms \| 3\.00x \| measured, stale \|$", row), row
        assert winner["environment"]["device"] == "Test CPU"
    assert "- Test CPU, torch 2.13.0\n" in text
    bill = json.loads(files["sboms/library.cdx.json"])
    component = bill["metadata"]["component"]
    assert component["name"] == kernel.name and "purl" not in component  # pip has none
    assert b"Apache License" in (kernel / "LICENSE").read_bytes()
    tables = [name for name in files if name.startswith("configs/op=")]
    assert len(tables) == 4 and all("device_name=Test_CPU" in name for name in tables)


def test_altered_missing_and_new_files_are_named(kernel: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(kernel, tmp_path / kernel.name)
    for path in (tmp_path, copy, copy / "hf.manifest.json"):
        ((_, found),) = exports_in(path)
        assert found is hf
    layers, readme = copy / VARIANT / "layers.py", copy / "README.md"
    content = bytearray(layers.read_bytes())
    content[len(content) // 2] ^= 1
    layers.write_bytes(content)
    readme.unlink()
    (copy / VARIANT / "more.py").write_text("")
    assert hf.faults(copy) == [
        "README.md cannot be read (No such file or directory); export it again.",
        f"{VARIANT}/layers.py is not the file that was exported; export it again.",
        f"{VARIANT}/more.py is in the folder and not in hf.manifest.json; remove it, or export it "
        "again.",
    ]


def _won(database: Path, *problems: Problem, target: str, arch: str, **options: Any) -> Path:
    bench = Bench(database)
    for problem in problems:
        variant = Variant.default("torch" if arch == "avx2" else "recurrent", problem)
        bench.win(problem, target=target, arch=arch, variant=variant, **options)
    return bench.close()


def test_a_gpu_has_its_backend_and_architecture(tmp_path: Path) -> None:
    problem = decode(sequences=8).bucket()
    database = _won(tmp_path / "r.db", problem, target="h200", arch="sm_90", predicted=True)
    files = hf.exported(described([database]))
    folder = "gdn-ops-lib-h200"
    assert {name.split("/")[0] for name in files} == {folder}
    metadata = _metadata(files, f"{folder}/build/torch-cuda")
    assert metadata["backend"] == {"type": "cuda", "archs": ["9.0"]}
    layers = files[f"{folder}/build/torch-cuda/layers.py"].decode()
    assert "__all__ = ['recurrent_gated_delta_rule']" in layers
    assert "recurrent_gated_delta_rule.has_backward = False" in layers
    card = files[f"{folder}/README.md"].decode()
    assert "| predicted |" in card and "Nothing was measured." in card
    assert "chosen by prediction for h200 (sm_90)" in card
    assert "step = library.fused_recurrent_gated_delta_rule\n" in card
    assert "chunk_gated_delta_rule: " not in card and '"chunk_gated_delta_rule"' not in card


def test_a_library_with_gradients_serves_training(tmp_path: Path) -> None:
    tiny: dict[str, Any] = {"tokens": 64, "H": 1, "HV": 1, "K": 16, "V": 16, "dtype": "fp32"}
    problems = prefill(**tiny).bucket(), training(**tiny).bucket()
    database = _won(tmp_path / "r.db", *problems, target="cpu-avx2", arch="avx2")
    files = hf.exported(described([database]))
    layers = files[f"gdn-ops-lib-cpu-avx2/{VARIANT}/layers.py"].decode()
    assert "import chunk_gated_delta_rule, causal_conv1d_fn\n" in layers
    assert "has_backward" not in layers


def test_winners_that_no_model_of_transformers_calls_are_refused(tmp_path: Path) -> None:
    vector = prefill(tokens=4096, H=32, rule=Rule("vector")).bucket()
    engine = pool(sequences=8).bucket()
    database = _won(tmp_path / "r.db", vector, engine, target="cpu-avx2", arch="avx2")
    with pytest.raises(InvalidInput, match="no winner for target 'cpu-avx2' is a prefill"):
        hf.exported(described([database]))


def test_two_targets_whose_names_make_one_folder_are_refused(tmp_path: Path) -> None:
    for target in ("my gpu", "my-gpu"):
        problem = decode(sequences=8).bucket()
        database = _won(tmp_path / "r.db", problem, target=target, arch="sm_90")
    with pytest.raises(InvalidInput, match="two targets make the same folder gdn-ops-lib-my-gpu"):
        hf.exported(described([database]))
