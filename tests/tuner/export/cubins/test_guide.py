"""The section for C of docs/export.md: its commands and its program, on the stand-in."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from gdn_ops.codegen.variant import Variant
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.spaces.workloads import WORKLOADS
from tests.results import Bench
from tests.tuner.export.cubins.loader import COMPILER, STAND_IN, stand_in
from tests.tuner.export.test_guide import IN_C, PAGE

DECODE = WORKLOADS["decode"].problems[0].bucket()


def test_a_reader_can_do_what_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if COMPILER is None:
        pytest.skip("this machine has no C compiler (cc, gcc or clang)")
    section = PAGE.read_text().partition(IN_C)[2]
    (commands,) = re.findall(r"^```sh\n(.*?)^```", section, flags=re.M | re.S)[:1]
    ((name, program),) = re.findall(r'^```c title="(.*?)"\n(.*?)^```', section, flags=re.M | re.S)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path / "rendered"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    bench = Bench(tmp_path / "h200.db")
    bench.win(DECODE, variant=Variant.default("recurrent", DECODE), predicted=True)
    bench.close()
    (tmp_path / name).write_text(program)
    stand_in(tmp_path)
    (tmp_path / "libcuda.so").symlink_to("libcuda.so.1")
    found = {"CPATH": str(STAND_IN), "LIBRARY_PATH": str(tmp_path)}
    env = {**os.environ, **found, "LD_LIBRARY_PATH": str(tmp_path)}
    ran = []
    for line in commands.splitlines():
        first, *words = shlex.split(line)
        ran.append(first)
        if first == "gdn":
            assert run(words) == 0, line
        else:
            strict = ["-Wall", "-Wextra", "-Werror"] if first == "cc" else []
            command = [COMPILER if first == "cc" else first, *words, *strict]
            subprocess.run(command, env=env, check=True)
    assert ran == ["gdn", "gdn", "cc", "./decode"]
    assert f"ran {DECODE.id()}" in capfd.readouterr().out
