"""This machine as PyTorch sees it, found out without PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from gdn_ops.codegen.targets import cpu_target
from gdn_ops.cpu_info import _OF_THREADS, CpuInfo
from gdn_ops.dispatch import this_machine
from gdn_ops.dispatch.device import target_of
from gdn_ops.dispatch.explanation import explained_problem
from gdn_ops.dispatch.finder import finder, finder_here
from gdn_ops.toolchain import torch_version, triton_version
from tests.problems import FORWARD

AVX2 = "fpu fma avx2"
AVX512 = f"{AVX2} avx512vl avx512bw avx512dq"


def info(*cores: int, flags: str = AVX512, machine: str = "x86_64") -> CpuInfo:
    """A machine with a processor for each number, which is its core."""
    blocks = [
        f"processor\t: {i}\nphysical id\t: 0\ncore id\t\t: {core}\nflags\t\t: {flags}\n"
        for i, core in enumerate(cores)
    ]
    return CpuInfo("\n".join(blocks), machine)


@pytest.mark.parametrize(
    ("flags", "found"),
    [(AVX512, "avx512"), (AVX2, "avx2"), ("fpu avx2", "default"), ("fma avx512vl", "default")],
)
def test_the_flags_say_which_kernels_pytorch_chooses(flags: str, found: str) -> None:
    assert info(0, flags=flags).capability({}) == found
    assert info(0, flags=flags).capability({"ATEN_CPU_CAPABILITY": "avx2"}) is None
    assert info(0, flags=flags, machine="aarch64").capability({}) is None
    assert CpuInfo("", "x86_64").capability({}) is None


def test_threads_are_certain_where_a_core_is_one_processor() -> None:
    four = frozenset(range(4))
    assert info(0, 1, 2, 3).threads({}, four) == 4
    assert info(0, 1, 2, 3).threads({}, frozenset({1, 3})) == 2
    assert info(0, 0, 1, 1).threads({}, four) is None
    assert info(0, 0, 1, 1).threads({}, frozenset({0, 2})) == 2
    assert info(0, 1).threads({}, four) is None
    assert info(0, 1, 2, 3).threads({"OMP_NUM_THREADS": "2"}, four) is None
    assert info(0, 1, 2, 3, machine="aarch64").threads({}, four) is None
    assert CpuInfo("", "x86_64").threads({}, frozenset()) is None


def test_all_is_as_pytorch_says(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(torch.device("cpu"))
    usual = finder("cpu")
    told = [torch.cuda.is_available(), torch_version(), triton_version()]
    monkeypatch.setattr(this_machine, "_torch", lambda: None)
    assert cpu_target(this_machine.cpu_arch()) == replace(target, sms=1)
    assert str(explained_problem(FORWARD, finder_here())) == str(explained_problem(FORWARD, usual))
    triton = pytest.importorskip("triton").__version__
    assert told == [this_machine.has_gpu(), torch.__version__, triton]


def test_a_cpu_is_named_by_its_best_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(this_machine, "_torch", lambda: None)
    for extension, arch in (("amx_bf16 avx512_bf16", "amx-bf16"), ("", "avx512")):
        monkeypatch.setattr(CpuInfo, "read", lambda e=extension: info(0, flags=f"{AVX512} {e}"))
        assert this_machine.cpu_arch() == arch


@pytest.mark.skipif(this_machine._may_have_gpu(), reason="PyTorch is asked here")
def test_pytorch_is_not_imported_for_an_explanation_on_a_cpu() -> None:
    """Nor for the parts of a tuning session in which nothing is left to tune."""
    code = """if True:
        import sys
        from gdn_ops.cpu_info import CpuInfo
        from gdn_ops.dispatch.this_machine import usable_processors
        from gdn_ops.tuner import session
        from gdn_ops.tuner.cli import run

        assert run(["explain", "--tokens", "64"]) == 0
        session.fingerprint(session.device_named("auto"), arch="avx2", threads=1)
        assert "torch" not in sys.modules
        import torch

        assert CpuInfo.read().threads({}, usable_processors()) in (None, torch.get_num_threads())
    """
    environment = {n: x for n, x in os.environ.items() if not n.startswith(_OF_THREADS)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
