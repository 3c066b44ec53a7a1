"""Figures that are read once per binary, and kept where nothing can spoil them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.compiled.compile import Compiled
from gdn_ops.codegen.compiled.elf import EXECUTABLE
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.check.static import figures
from gdn_ops.tuner.check.static.figures import read_figures, reader_hash
from tests.codegen.compiled.elf_file import elf

ASSEMBLY = """
\tv_add_f32 v0, v1, v2
\tv_mfma_f32_16x16x16_bf16 v0, v1, v2
\tscratch_store_dword off, v0, s0
.Lfunc_end0:
\t.amdgpu_metadata
    .vgpr_count:     40
    .private_segment_fixed_size: 12
    .group_segment_fixed_size: 0
"""


COMPILED = Compiled(
    stage="chunk_o", target=target_named("mi300x"), warps=4, shared=1024, tensor_memory=0,
    binary=elf((EXECUTABLE | 2, 640), (0, 5000), (EXECUTABLE, 8)),
    asm={"ttgir": "", "amdgcn": ASSEMBLY}, seconds=1.0, cached=False,
)  # fmt: skip


def test_figures_of_a_kernel(tmp_path: Path) -> None:
    assert read_figures(COMPILED, tmp_path / "figures") == {
        "figures": {
            "stack": 12,
            "local accesses": 1,
            "resident warps": 32,
            "instructions": 3,
            "code": 648,
            "registers": 40,
            "shared": 1024,
            "warps": 4,
            "instructions MFMA": 1,
        },
        "reasons": [],
    }


def test_why_a_kernel_cannot_be_launched_is_a_figure_too(tmp_path: Path) -> None:
    found = read_figures(replace(COMPILED, shared=10**6), tmp_path)
    assert found["figures"]["unlaunchable"] == 1
    assert "resident warps" not in found["figures"]
    assert "1000000 bytes of shared memory exceed" in found["reasons"][0]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that were read, not taken from the cache."""
    read, own = [], figures._read

    def counting(compiled: Compiled) -> figures.Read:
        read.append(compiled.stage)
        return own(compiled)

    monkeypatch.setattr(figures, "_read", counting)
    return read


def test_a_binary_is_read_once(tmp_path: Path, counted: list[str]) -> None:
    first = read_figures(COMPILED, tmp_path)
    assert read_figures(COMPILED, tmp_path) == first
    assert len(counted) == 1
    read_figures(replace(COMPILED, binary=COMPILED.binary + b"\0"), tmp_path)
    read_figures(replace(COMPILED, shared=2048), tmp_path)
    read_figures(replace(COMPILED, asm={**COMPILED.asm, "ttgir": "other"}), tmp_path)
    read_figures(replace(COMPILED, target=target_named("mi355x")), tmp_path)
    assert len(counted) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-3],
        lambda text: "[]",
        lambda text: json.dumps({"figures": {"stack": "8"}, "reasons": []}),
        lambda text: json.dumps({"figures": {"speed": 8}, "reasons": []}),
        lambda text: json.dumps({"figures": {}, "reasons": [8]}),
        lambda text: json.dumps({"figures": {}}),
    ],
)
def test_a_damaged_file_is_read_again(
    tmp_path: Path, counted: list[str], damage: Callable[[str], str]
) -> None:
    first = read_figures(COMPILED, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_text(damage(file.read_text()))
    assert read_figures(COMPILED, tmp_path) == first
    assert len(counted) == 2
    assert read_figures(COMPILED, tmp_path) == first
    assert len(counted) == 2


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, counted: list[str]) -> None:
    (tmp_path / "file").write_text("")
    for _ in range(2):
        assert read_figures(COMPILED, tmp_path / "file" / "figures")["figures"]
    assert len(counted) == 2


def test_the_reader_is_the_code_that_reads_and_the_limits_of_the_target() -> None:
    h200 = target_named("h200")
    assert reader_hash(h200) == reader_hash(replace(h200, bandwidth=1.0, name="other"))
    assert reader_hash(h200) != reader_hash(replace(h200, warps_sm=48))


def test_prose_is_no_part_of_the_reader() -> None:
    code = "def f(x: int) -> str:\n    return f'{x + 1}'\n"
    prose = code.replace(
        "    return", '    """What it does.\n\n    More.\n    """\n    # why\n\n    return'
    )
    assert figures._code(prose) == figures._code(code)
    assert figures._code(code.replace("1", "2")) != figures._code(code)
