"""Compile other libraries' kernels for sm_90, without a GPU, and pack what the fit reads.

    python -m bench.cost_fit.record FOLDER

Wanted are fla-core 0.5.1 with flash-linear-attention, einops and triton 3.5.1, which made the
published times; flash-qla and tilelang; the unpacked wheel of flashinfer-python 0.6.13; and nvcc.
What cannot be installed in one environment can be compiled in several, one after another, into the
same folder:

    python -m bench.cost_fit.record FOLDER --only fla
    python -m bench.cost_fit.record FOLDER --only flashqla
    python -m bench.cost_fit.record FOLDER --only flashinfer --wheel DIRECTORY
    python -m bench.cost_fit.record FOLDER --only pack
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from bench.compare.cases import BACKWARD_HEADS, FORWARD_HEADS
from bench.cost_fit.pack import FLA_INDEX, FLASHINFER, VERSIONS, packed
from bench.cost_fit.peer_kernels import PATH, write
from bench.static import fla, recorder
from bench.static.absent_gpu import install
from gdn_ops.codegen.compiled.compile import compiled_of
from gdn_ops.codegen.compiled.resources import resources_of
from gdn_ops.codegen.problem import Problem
from gdn_ops.codegen.targets import target_named

H200 = target_named("h200")
COMPILED_HEADS = (16, 32)
TOKENS, CHUNK = 8192, 64
NVCC = ("nvcc", "-gencode=arch=compute_90a,code=sm_90a", "-cubin", "-O3")


def record_fla(folder: Path) -> None:
    """Compile every config of FLA's kernels, and list the bytes of all launches."""
    # its Triton kernels, also the one that it leaves to TileLang on this architecture
    os.environ["FLA_DISABLE_BACKEND_DISPATCH"] = "1"
    install(H200)
    chunk_o = importlib.import_module("fla.ops.common.chunk_o")
    chunk_o.TRITON_ABOVE_3_4_0 = False  # type: ignore[attr-defined]
    grids = _with_grids()
    index: dict[str, Any] = {"bytes": {}, "kernels": []}
    _note(folder, "fla-core", "triton")
    heads = {"forward": FORWARD_HEADS, "backward": BACKWARD_HEADS}
    for op, geometries in heads.items():
        for H, HV in geometries:
            problem = Problem(op=op, H=H, HV=HV, K=128, V=128, dtype="bf16", tokens=TOKENS,
                              sequences=1)  # fmt: skip
            calls = fla.calls(problem)
            index["bytes"][f"{op} {H}/{HV}"] = [
                (call.kernel, call.bytes / (TOKENS * HV)) for call in calls
            ]
            if (H, HV) == COMPILED_HEADS:
                # an operation of PyTorch has no grid
                index["kernels"] += [
                    _compiled(op, call, grids.get(id(call), {}), folder) for call in calls
                ]
    (folder / FLA_INDEX).write_text(json.dumps(index))


def _note(folder: Path, *packages: str, **found: str) -> None:
    """Add versions to those that the folder knows."""
    path = folder / VERSIONS
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, **{name: version(name) for name in packages}, **found}))


def _with_grids() -> dict[int, Mapping[str, list[int]]]:
    """Have the recorder also keep the grid of each config, by the id of its call."""
    grids: dict[int, Mapping[str, list[int]]] = {}
    kept, plain = [], recorder._call

    def call(kernel: str, function: Any, args: Any, kwargs: Any, configs: Any) -> recorder.Call:
        found = plain(kernel, function, args, kwargs, configs)
        given = {**dict(zip(function.arg_names, args, strict=False)), **kwargs}
        grid: Any = kwargs["grid"]
        grids[id(found)] = {
            name: [int(n) for n in (grid({**given, **own}) if callable(grid) else grid)]
            for name, own in configs.items()
        }
        kept.append(found)  # so that its id stays its own
        return found

    recorder._call = call
    return grids


def _compiled(
    op: str, call: recorder.Call, grids: Mapping[str, list[int]], folder: Path
) -> dict[str, Any]:
    configs = {}
    for number, (name, compiler) in enumerate(call.compiles.items()):
        compiled = compiled_of(call.kernel, H200, compiler(), seconds=0.0, cached=False)
        needs = resources_of(compiled)
        cubin = f"{op}-{call.kernel}-{number}.cubin"
        (folder / cubin).write_bytes(compiled.binary)
        configs[name] = {
            "cubin": cubin, "grid": grids[name], "heads": COMPILED_HEADS[1],
            "chunks": TOKENS // CHUNK, "stack": needs.stack, "warps": needs.warps,
            "blocks": needs.occupancy.blocks, "reasons": needs.reasons(H200),
        }  # fmt: skip
    return {"op": op, "kernel": call.kernel, "configs": configs}


def record_flashqla(folder: Path) -> None:
    """Compile FlashQLA's kernels for Hopper with TileLang and nvcc."""
    properties = SimpleNamespace(multi_processor_count=H200.sms, major=9, minor=0)
    torch.cuda.get_device_properties = lambda *_: properties  # type: ignore[assignment]
    tilelang = importlib.import_module("tilelang")
    tilelang.contrib.nvcc.get_target_compute_version = lambda *_: "9.0"
    _note(folder, "flash-qla", "tilelang")
    hopper = "flash_qla.ops.gated_delta_rule.chunk.hopper"
    kernels: dict[str, tuple[str, str, dict[str, Any]]] = {
        **{f"fused_fwd_dv{n}": ("fused_fwd", "tilelang_fused_chunk_gdr_fwd", {"block_DV": n})
           for n in (128, 64, 32)},
        "prepare_h": ("prepare_h", "tilelang_prepare_h", {}),
        "recompute_h": ("prepare_h", "tilelang_prepare_h", {"store_h": True}),
        "prepare_dh": ("cp_bwd", "tilelang_prepare_dh_ws", {}),
        "fused_bwd": ("fused_bwd", "tilelang_fused_chunk_gdr_bwd", {}),
    }  # fmt: skip
    for name, (module, function, own) in kernels.items():
        jitted = getattr(importlib.import_module(f"{hopper}.{module}"), function)
        _tilelang(tilelang, jitted, own, folder / f"{name}.cubin")


FACTS: Mapping[str, Any] = {
    "H": 32, "Hg": 16, "DK": 128, "DV": 128, "chunk_size": 64, "scale": 128**-0.5,
    "accum_dtype": "float32", "qkva_dtype": "bfloat16", "g_dtype": "float32", "b_dtype": "float32",
    "h0_dtype": "float32", "ht_dtype": "float32", "h_dtype": "bfloat16", "o_dtype": "bfloat16",
    "dht_dtype": "float32", "dh_dtype": "float32", "seqlen_dtype": "int32",
    "use_initial_state": True, "store_final_state": True, "store_h": False, "store_o": True,
    "use_dht": False, "store_dh0": True, "store_dh": True, "is_varlen": True, "is_cp": False,
    "state_v_first": False,
}  # fmt: skip
"""What FlashQLA's kernels are specialized for."""


def _tilelang(tilelang: Any, jitted: Any, own: Mapping[str, Any], out: Path) -> None:
    given = {**FACTS, **own}
    names = [name for name in inspect.signature(jitted.func).parameters if name in given]
    program = jitted.get_tir(**{name: given[name] for name in names})
    tvm = tilelang.tvm
    target = tvm.target.Target({"kind": "cuda", "arch": "sm_90a"})
    passes = {str(getattr(k, "value", k)): v for k, v in (jitted.pass_configs or {}).items()}
    with tvm.transform.PassContext(opt_level=3, config=passes), target:
        source = tilelang.lower(program, target=target).kernel_source
    root = Path(tilelang.__file__).parent
    folders = (root / "src", root / "3rdparty" / "cutlass" / "include")
    _nvcc(source, out, "--use_fast_math", "-std=c++17", folders=folders)


def record_flashinfer(folder: Path, wheel: Path) -> None:
    """Compile FlashInfer's forward for Hopper from the sources in its wheel."""
    data = wheel / "flashinfer" / "data"
    (about,) = wheel.glob("flashinfer_python-*.dist-info")
    _note(folder, **{"flashinfer-python": about.name.split("-")[1].removesuffix(".dist")})
    source = (data / "csrc" / "gdn_prefill_sm90_kernel_inst.jinja").read_text()
    values = {"dtype": "nv_bfloat16", "enable_checkpointing": "false"}
    for name in ("dtype", "is_gva", "needs_beta", "needs_alpha", "init_state",
                 "enable_checkpointing"):  # fmt: skip
        source = source.replace(f"{{{{ {name} }}}}", values.get(name, "true"))
    folders = [data / part for part in ("include", "csrc", "cutlass/include",
               "cutlass/tools/util/include", "cccl/libcudacxx/include", "cccl/cub")]  # fmt: skip
    options = ("-std=c++20", "--expt-relaxed-constexpr", "--expt-extended-lambda", "-DNDEBUG",
               "-use_fast_math", "-DFLAT_SM90A_ENABLED",
               "-DCUTLASS_ENABLE_GDC_FOR_SM90=1")  # fmt: skip
    _nvcc(source, folder / FLASHINFER, *options, folders=folders)


def _nvcc(source: str, out: Path, *options: str, folders: Any) -> None:
    code = out.with_suffix(".cu")
    code.write_text(source)
    includes = [f"-I{folder}" for folder in folders]
    subprocess.run([*NVCC, *options, *includes, "-o", str(out), str(code)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.cost_fit.record",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="for the compiled kernels")
    parser.add_argument("--wheel", type=Path, help="where FlashInfer's wheel was unpacked")
    parser.add_argument("--only", choices=("fla", "flashqla", "flashinfer", "pack"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], None]] = {
        "fla": lambda: record_fla(given.folder),
        "flashqla": lambda: record_flashqla(given.folder),
        "flashinfer": lambda: record_flashinfer(given.folder, given.wheel),
        "pack": lambda: write(packed(given.folder), PATH),
    }
    if given.wheel is None and given.only in (None, "flashinfer"):
        sys.exit("--wheel says where the wheel of flashinfer-python was unpacked; name it.")
    for name, step in steps.items():
        if given.only in (None, name):
            step()


if __name__ == "__main__":
    main()
