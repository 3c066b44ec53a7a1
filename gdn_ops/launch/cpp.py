"""C++ of rendered stages: compiled on this machine, kept in the cache folder, and loaded."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

from gdn_ops.codegen.errors import CompileError, LaunchError
from gdn_ops.codegen.private_folder import ensure_private
from gdn_ops.cpu_info import CpuInfo
from gdn_ops.results_path import CACHE_VARIABLE, COMPILER_VARIABLE, cache_folder, chosen_compiler

COMPILERS = ("g++", "c++", "clang++")
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno",
    "-fno-trapping-math", "-fno-exceptions", "-fno-rtti", "-fopenmp", "-fPIC", "-shared",
    "-fno-strict-aliasing",  # products read pairs of bf16 as one word
)  # fmt: skip
SECONDS = 120.0
"""Seconds that a compilation may take; it takes about one on a free core."""
PROBE = "\n".join(
    (
        "#include <stdint.h>",
        "#include <string.h>",
        "#ifdef __AVX512BF16__",
        "#include <immintrin.h>",
        'extern "C" int multiplies_bf16(void) { return 1; }',
        "#else",
        'extern "C" int multiplies_bf16(void) { return 0; }',
        "#endif",
        'extern "C" int omp_get_thread_num(void);',
        'extern "C" void probe(int *x) {',
        "#pragma omp parallel for num_threads(2)",
        "  for (int i = 0; i < 2; i++) x[i] = omp_get_thread_num();",
        "}",
        "// as of OpenMP 5.0; 2 is omp_pause_hard",
        'extern "C" int omp_pause_resource_all(int) __attribute__((weak));',
        'extern "C" void end_threads(void) {',
        "  if (omp_pause_resource_all) omp_pause_resource_all(2);",
        "}",
        "",
    )
)
_LOCK = threading.Lock()
_LOADED: dict[str, ctypes.CDLL] = {}


def library(source: str) -> ctypes.CDLL:
    """Return what a C++ source compiles to; it is compiled once per machine.

    Threads may call this side by side. A process that finds the compiled file compiles nothing.

    Raises:
        CompileError: there is no compiler, it fails, or what it makes cannot be loaded.
    """
    with _LOCK:
        if source not in _LOADED:
            _LOADED[source] = _load(source)
        return _LOADED[source]


@cache
def why_no_cpp(native: bool = False) -> str:
    """Why C++ cannot be compiled and loaded here; empty if it can.

    Args:
        native: whether it multiplies bf16. A compiler older than this CPU may not know how; for a
            CPU without such instructions it is not asked, as another machine is meant.
    """
    try:
        probe = library(PROBE)
    except CompileError as error:
        return str(error)
    if native and "avx512_bf16" in CpuInfo.read().flags and not probe.multiplies_bf16():
        return (
            f"{shlex.join(_compiler())} knows no instructions that multiply bf16 on this CPU; "
            f"name a newer compiler in {COMPILER_VARIABLE} (GCC from 10 on), or use dot=ieee."
        )
    return ""


def _before_fork() -> None:
    """End the threads that computed for this one, also those of PyTorch; the next loop makes new.

    A child process has no other thread than the one that forks, and GCC's OpenMP would wait there
    for the threads of its parent.
    """
    if PROBE in _LOADED:
        _LOADED[PROBE].end_threads()


def _after_fork() -> None:
    global _LOCK
    _LOCK = threading.Lock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


def _load(source: str) -> ctypes.CDLL:
    compiler = _compiler()
    # code for this CPU's instructions does not run on another that shares the cache folder
    cpu = (platform.machine(), *sorted(CpuInfo.read().flags))
    key = "\n".join((source, *compiler, *FLAGS, *cpu))
    name = f"cpp_{hashlib.sha256(key.encode()).hexdigest()[:20]}.so"
    kept = cache_folder() / "cpp" / name
    try:
        ensure_private(kept.parent)
        if _is_whole(kept):
            return ctypes.CDLL(str(kept))
    except (LaunchError, OSError):  # it is made again below
        pass
    code = _compiled(compiler, source)
    try:
        ensure_private(kept.parent)
        _write(kept, code)
        return ctypes.CDLL(str(kept))
    except (LaunchError, OSError):  # cannot be written, is full, or runs no code: keep nothing
        pass
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = Path(folder) / name
            path.write_bytes(code)
            return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompileError(
            f"what {shlex.join(compiler)} made of a C++ stage cannot be loaded: {error}. "
            f"Set {CACHE_VARIABLE} to a folder of your own that may hold programs, or use "
            "gdn_ops.using('torch')."
        ) from error


def _compiler() -> list[str]:
    """The compiler and its first options: ``CXX`` may be e.g. ``ccache g++``."""
    chosen = (chosen_compiler() or "").strip()
    try:
        commands = [shlex.split(chosen)] if chosen else [[name] for name in COMPILERS]
    except ValueError:  # a quotation that does not end
        commands = [[chosen]]
    for program, *options in commands:
        if found := shutil.which(program):
            return [found, *options]
    raise CompileError(
        f"C++ stages need a compiler, and there is no {chosen or ' or '.join(COMPILERS)} on the "
        f"PATH; install g++, or name a compiler in {COMPILER_VARIABLE}."
    )


def _compiled(compiler: list[str], source: str) -> bytes:
    """What a compiler makes of a source, and behind it its hash."""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            made = Path(folder) / "stage.so"
            command = [*compiler, *FLAGS, "-x", "c++", "-", "-o", str(made)]
            status, errors = _run(command, source.encode())
            if status == 0:
                code = made.read_bytes()
                return code + hashlib.sha256(code).digest()
        why = next((x for x in errors.splitlines() if "error" in x), errors[-300:])
        why = why or f"it ended with status {status}"
    except subprocess.TimeoutExpired:
        why = f"it did not end within {SECONDS:.0f} seconds"
    except OSError as error:
        why = str(error)
    raise CompileError(
        f"{shlex.join(compiler)} cannot compile a C++ stage: {why}. "
        f"Name another compiler in {COMPILER_VARIABLE}, or use gdn_ops.using('torch')."
    )


def _run(command: list[str], given: bytes) -> tuple[int, str]:
    """Run a program; returns its status and what it wrote as errors."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            _, errors = process.communicate(given, timeout=SECONDS)
        except BaseException:
            # a compiler is several processes; those that live on would hold the pipe open
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, errors.decode(errors="replace").strip()


def _is_whole(path: Path) -> bool:
    """Whether a file is as it was written. Loading one that is cut would end the process."""
    if not path.is_file():
        return False
    code = path.read_bytes()
    return hashlib.sha256(code[:-32]).digest() == code[-32:]


def _write(path: Path, code: bytes) -> None:
    """Write a file completely or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        made.write_bytes(code)
        os.replace(made, path)
