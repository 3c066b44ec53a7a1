"""C++ of stages: compiled once, what a call runs on without a compiler, and damaged files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gdn_ops.codegen.targets import target_named
from gdn_ops.codegen.variant import Variant
from gdn_ops.cpu_info import CpuInfo
from gdn_ops.dispatch import choice
from gdn_ops.dispatch.choice import choose, choose_forced
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.errors import UnsupportedProblem
from gdn_ops.launch import cpp
from tests.gdn_ops.dispatch.test_choice import winner
from tests.problems import FORWARD

CPU = target_named("cpu-avx2")
LARGE = replace(FORWARD, H=16, HV=32, K=128, V=128, tokens=2048, sequences=1, dtype="fp32")
EMPTY = WinnerTable(())
NATIVE = {"cpp_chunk": {"dot": "native"}}


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty cache folder, and nothing loaded yet."""
    monkeypatch.setenv("GDN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cpp, "_LOADED", {})
    cpp.why_no_cpp.cache_clear()
    yield
    cpp.why_no_cpp.cache_clear()


def a_compiler(path: Path, line: str) -> str:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o700)
    return str(path)


def test_large_calls_run_on_cpp_where_it_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "missing_compiler", lambda variant: [])
    found = choose(LARGE, CPU, EMPTY)
    assert (found.how, found.variant.plan) == ("default", "cpp")
    small = choose(replace(LARGE, tokens=64), CPU, EMPTY)
    assert (small.how, small.variant.plan) == ("fallback", "torch")
    assert any("compiling takes a second" in r.reasons[0] for r in small.refused)
    unknown = choose(LARGE, target_named("cpu"), EMPTY)
    assert unknown.variant.plan == "torch"
    assert any("nobody has measured it" in r.reasons[0] for r in unknown.refused)
    gradients = choose(LARGE.backward(final_state=True), CPU, EMPTY)
    assert gradients.variant.plan == "cpp"
    odd = choose(replace(LARGE, K=120), CPU, EMPTY)
    assert odd.variant.plan == "torch"
    assert any("multiples of 16, and K=120" in r.reasons[0] for r in odd.refused)


@pytest.mark.parametrize(
    ("compiler", "why"),
    [
        (None, "there is no /nowhere/c++ on the PATH"),
        ("exit 1", "it ended with status 1"),
        ("sleep 100 & sleep 100", "it did not end within 1 seconds"),  # both hold its pipes
    ],
)
def test_without_a_working_compiler(
    compiler: str | None, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = "/nowhere/c++" if compiler is None else a_compiler(tmp_path / "broken", compiler)
    monkeypatch.setenv("CXX", name)
    if "1 seconds" in why:
        monkeypatch.setattr(cpp, "SECONDS", 1.0)
    variant = Variant.default("cpp", LARGE)
    row = {"variant_id": variant.id, "variant": variant.to_json()}
    found = choose(LARGE, CPU, WinnerTable((winner(LARGE, CPU.name, CPU.arch, **row),)))
    assert (found.how, found.variant.plan) == ("fallback", "torch")
    refused = [r for r in found.refused if r.candidate.startswith(("exact", "plan cpp"))]
    assert len(refused) == 2
    for refusal in refused:
        assert why in refusal.reasons[0]
    with pytest.raises(UnsupportedProblem, match=re.escape(why)):
        choose_forced(LARGE, CPU, "cpp")


def test_bf16_products_need_a_compiler_that_knows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, target = replace(LARGE, dtype="bf16"), target_named("cpu-avx512-bf16")

    class Old:
        def multiplies_bf16(self) -> int:
            return 0

    here = CpuInfo("processor : 0\nflags : avx512_bf16", "x86_64")
    monkeypatch.setattr(CpuInfo, "read", lambda: here)
    monkeypatch.setattr(cpp, "library", lambda source: Old())
    monkeypatch.setenv("CXX", "sh")
    for found in (choose(problem, target, EMPTY), choose_forced(problem, target, "cpp")):
        assert dict(found.variant.stages[0][1])["dot"] == "ieee"
    with pytest.raises(UnsupportedProblem, match="knows no instructions that multiply bf16"):
        choose_forced(problem, target, Variant.of("cpp", problem, {}, NATIVE))


@pytest.mark.skipif(bool(cpp.why_no_cpp()), reason="no C++ compiler")
def test_a_source_is_compiled_once_per_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compiled: list[str] = []

    def compile_(compiler: list[str], source: str) -> bytes:
        compiled.append(source)
        return make(compiler, source)

    def result() -> object:
        """As a new process finds it."""
        monkeypatch.setattr(cpp, "_LOADED", {})
        return cpp.library(source).four()

    make = cpp._compiled
    monkeypatch.setattr(cpp, "_compiled", compile_)
    monkeypatch.setenv("CXX", "env " + cpp._compiler()[0])
    source, folder = 'extern "C" int four(void) { return 4; }', tmp_path / "cache" / "cpp"
    assert (result(), result()) == (4, 4)
    assert len(compiled) == 1
    (made,) = folder.iterdir()
    code = made.read_bytes()
    made.unlink()
    made.write_bytes(code[: len(code) // 2])  # to load it would end the process
    assert (result(), len(compiled)) == (4, 2)
    assert [path.read_bytes() for path in folder.iterdir()] == [code]
    # others may have put anything there
    folder.chmod(0o777)
    assert (result(), len(compiled)) == (4, 3)
    # a folder that cannot be made
    monkeypatch.setenv("GDN_CACHE_DIR", str(made))
    assert (result(), len(compiled)) == (4, 4)
