"""Resources: what the tools print is read right, and what cannot start is told with its limit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.compiled import gcn, sass
from gdn_ops.codegen.compiled.compile import Compiled
from gdn_ops.codegen.compiled.occupancy import Occupancy, occupancy
from gdn_ops.codegen.compiled.resources import Resources, resources_of
from gdn_ops.codegen.errors import UnreadableCode
from gdn_ops.codegen.targets import target_named

USAGE = """
Resource usage:
 Common:
  GLOBAL:0
 Function state:
  REG:168 STACK:24 SHARED:1024 LOCAL:0 CONSTANT[0]:568 TEXTURE:0 SURFACE:0 SAMPLER:0
"""
LISTING = """
        .section        .text.state,"ax",@progbits
state:
.text.state:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 LDG.E.128 R4, desc[UR6][R8.64] ;
        /*0020*/             @!UP0 UTMALDG.2D [UR8], [UR4], desc[URZ] ;
        /*0030*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], RZ, !UPT ;
        /*0040*/                   HGMMA.64x128x16.F32.BF16 R24, gdesc[UR8], R24, gsb0 ;
        /*0050*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
        /*0060*/                   FFMA R1, R2, R3, R4 ;
        /*0070*/               @P1 STL [R1+0x8], R20 ;
        /*0080*/                   LDL.LU R20, [R1+0x8] ;
        /*0090*/                   LDGSTS.E.BYPASS.128 [R5], desc[UR6][R8.64] ;
        /*00a0*/                   EXIT ;
.L_x_4:
        /*00b0*/                   BRA `(.L_x_4);
        /*00c0*/                   NOP;
        /*10d0*/                   NOP;
"""
AMDGCN = """
\t.text
\t.globl\tstate                           ; -- Begin function state
state:                                  ; @state
.Lfunc_begin0:
\t.loc\t1 19 0 prologue_end             ; state.py:19:0
\ts_load_dwordx2 s[2:3], s[0:1], 0x0
\tbuffer_load_dwordx4 v[4:7], v1, s[4:7], 0 offen
\tbuffer_load_dword v1, s[4:7], 0 offen lds
\tglobal_load_lds_dwordx4 v[2:3], off
\tv_mfma_f32_32x32x8_bf16 a[0:15], v[2:3], v[4:5], a[0:15]
\tv_mfma_f32_32x32x8_bf16 a[0:15], v[6:7], v[8:9], a[0:15]
\tscratch_store_dword off, v9, off offset:4 ; 4-byte Folded Spill
\tscratch_load_dword v9, off, off offset:4 ; 4-byte Folded Reload
\ts_nop 0
\ts_endpgm
.Lfunc_end0:
\tv_unrelated_b32 v0
\t.amdgpu_metadata
---
amdhsa.kernels:
  - .agpr_count:     16
    .group_segment_fixed_size: 0
    .name:           state
    .private_segment_fixed_size: 8
    .sgpr_count:     20
    .vgpr_count:     140
    .vgpr_spill_count: 1
...
\t.end_amdgpu_metadata
"""


def resources(**changes: object) -> Resources:
    base = Resources(
        warps=4, registers=128, stack=0, shared=16384, tensor_memory=0, instructions=800,
        matrix={"HMMA": 64}, copies={"LDGSTS": 8}, local=0, binary=50000, seconds=0.7, cached=False,
        occupancy=Occupancy(4, 16, 0.25, "registers"),
    )  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def test_nvidia_machine_code_is_read() -> None:
    code = sass.parse(USAGE, LISTING)
    assert (code.registers, code.stack, code.shared) == (168, 24, 1024)
    assert code.matrix == {"HGMMA": 2}
    assert code.copies == {"LDGSTS": 1, "UTMALDG": 1}
    assert code.local == 2
    assert code.instructions == 12


def test_amd_machine_code_is_read() -> None:
    code = gcn.parse(AMDGCN)
    assert (code.registers, code.stack, code.shared) == (140, 8, 0)
    assert code.matrix == {"MFMA": 2}
    assert code.copies == {"LDS": 2}
    assert code.local == 2
    assert code.instructions == 9


def test_text_of_another_kind_is_refused() -> None:
    with pytest.raises(UnreadableCode, match="no resource usage"):
        sass.parse("cuobjdump fatal", LISTING)
    with pytest.raises(UnreadableCode, match="no register count"):
        gcn.parse("; nothing")


def test_a_missing_tool_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object, **__: object) -> None:
        raise FileNotFoundError("cuobjdump is not there")

    monkeypatch.setattr(sass.subprocess, "run", run)
    with pytest.raises(UnreadableCode, match=r"Cannot find cuobjdump; .*TRITON_CUOBJDUMP_PATH"):
        sass.machine_code(b"")


def test_a_missing_folder_for_passing_files_is_told_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sass.tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(UnreadableCode, match="set TMPDIR"):
        sass.machine_code(b"")


def test_a_tool_that_fails_without_a_word_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "cuobjdump"
    tool.write_text(
        "#!/bin/sh\n[ $1 = --version ] && echo release 12.8 && exit\necho >&2\nexit 1\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("TRITON_CUOBJDUMP_PATH", str(tool))
    with pytest.raises(UnreadableCode, match="exit status 1"):
        sass.machine_code(b"")


def test_the_drivers_own_shared_memory_is_not_the_blocks() -> None:
    compiled = Compiled(
        stage="chunk_h", target=target_named("mi300x"), warps=4, shared=8192, tensor_memory=0,
        binary=b"abc", asm={"amdgcn": AMDGCN}, seconds=1.0, cached=False,
    )  # fmt: skip
    found = resources_of(compiled)
    assert (found.shared, found.binary) == (8192, 3)
    assert found.occupancy == Occupancy(3, 12, 12 / 32, "registers")


@pytest.mark.parametrize(("in_binary", "shared"), [(0, 8192), (1024, 8192), (1536, 8704)])
def test_a_kernel_without_shared_memory_has_none_of_the_drivers(
    in_binary: int, shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = replace(sass.parse(USAGE, LISTING), shared=in_binary)
    monkeypatch.setattr(sass, "machine_code", lambda binary: code)
    compiled = Compiled(
        stage="chunk_h", target=target_named("h200"), warps=4, shared=8192, tensor_memory=0,
        binary=b"abc", asm={}, seconds=1.0, cached=False,
    )  # fmt: skip
    assert resources_of(compiled).shared == shared


@pytest.mark.parametrize(
    ("target", "warps", "registers", "shared", "blocks", "limit"),
    [
        # after the CUDA occupancy calculator
        ("a100", 8, 64, 0, 4, "registers"),
        ("a100", 8, 32, 0, 8, "warps"),
        ("a10", 8, 40, 0, 6, "warps"),
        ("rtx4090", 4, 255, 0, 2, "registers"),
        ("h200", 1, 32, 0, 32, "blocks"),
        ("h200", 12, 168, 0, 1, "registers"),
        ("h200", 4, 32, 232448, 1, "shared memory"),
        ("h200", 4, 32, 115712, 2, "shared memory"),
        ("h200", 4, 32, 115713, 1, "shared memory"),
        ("h200", 4, 32, 232449, 0, "shared memory"),
        # one wave a SIMD holds all 512 registers of its lanes
        ("mi300x", 4, 512, 0, 1, "registers"),
        ("mi300x", 4, 64, 32768, 2, "shared memory"),
    ],
)
def test_occupancy(
    target: str, warps: int, registers: int, shared: int, blocks: int, limit: str
) -> None:
    found = occupancy(target_named(target), warps=warps, registers=registers, shared=shared)
    assert (found.blocks, found.limit) == (blocks, limit)
    assert found.warps == blocks * warps


def test_occupancy_is_a_fraction_of_the_warps_an_sm_holds() -> None:
    found = occupancy(target_named("a10"), warps=4, registers=128, shared=0)
    assert found == Occupancy(4, 16, 16 / 48, "registers")


def test_tensor_memory_limits_occupancy() -> None:
    found = occupancy(target_named("b200"), warps=4, registers=32, shared=0, tensor_memory=256)
    assert (found.blocks, found.limit) == (2, "tensor memory")


def test_what_fits_has_no_reasons() -> None:
    assert resources().reasons(target_named("a100")) == []
    assert resources(shared=232448).reasons(target_named("h200")) == []


@pytest.mark.parametrize(
    ("changes", "value", "limit", "remedy"),
    [
        ({"shared": 232449}, "232449 bytes", "232448", "smaller tiles"),
        ({"warps": 64, "registers": 32}, "64 warps", "1024", "num_warps"),
        ({"warps": 16, "registers": 136}, "136 registers", "65536", "num_warps"),
        ({"tensor_memory": 1024}, "1024 columns", "512", "smaller tiles"),
    ],
)
def test_what_cannot_start_is_told(
    changes: dict[str, int], value: str, limit: str, remedy: str
) -> None:
    (reason,) = resources(**changes).reasons(target_named("h200"))
    for part in (value, limit, remedy):
        assert part in reason


def test_a_launch_may_fail_for_several_reasons() -> None:
    assert len(resources(shared=10**6, warps=64).reasons(target_named("h200"))) == 3


def test_tensor_descriptors_show_as_tma() -> None:
    assert resources(copies={"UTMALDG": 3}).tma
    assert not resources(copies={"LDGSTS": 3}).tma


def test_resources_survive_json() -> None:
    before = resources()
    assert Resources.from_json(json.loads(json.dumps(before.to_json()))) == before
