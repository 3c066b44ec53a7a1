"""C++ of rendered stages: compiled on this machine, kept in the cache folder, and loaded."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

from gdn_ops.codegen.errors import CompileError, LaunchError
from gdn_ops.codegen.private_folder import ensure_folder
from gdn_ops.cpu_info import CpuInfo
from gdn_ops.results_path import COMPILER_VARIABLE, cache_folder, chosen_compiler

COMPILERS = ("g++", "c++", "clang++")
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno",
    "-fno-trapping-math", "-fno-exceptions", "-fno-rtti", "-fopenmp", "-fPIC", "-shared",
)  # fmt: skip
SECONDS = 120.0
"""Seconds that a compilation may take; it takes about one on a free core."""
PROBE = "\n".join(
    (
        "#include <stdint.h>",
        "#include <string.h>",
        "#ifdef __AVX512BF16__",
        "#include <immintrin.h>",
        "#endif",
        'extern "C" int omp_get_thread_num(void);',
        'extern "C" void probe(int *x) {',
        "#pragma omp parallel for num_threads(2)",
        "  for (int i = 0; i < 2; i++) x[i] = omp_get_thread_num();",
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
        CompileError: there is no compiler, or it fails.
    """
    with _LOCK:
        if source not in _LOADED:
            _LOADED[source] = _load(source)
        return _LOADED[source]


@cache
def why_no_cpp() -> str:
    """Why C++ cannot be compiled and loaded here; empty if it can."""
    try:
        library(PROBE)
    except CompileError as error:
        return str(error)
    return ""


def _load(source: str) -> ctypes.CDLL:
    compiler = _compiler()
    # code for this CPU's instructions does not run on another that shares the cache folder
    cpu = (platform.machine(), *sorted(CpuInfo.read().flags))
    key = "\n".join((source, compiler, *FLAGS, *cpu))
    name = f"cpp_{hashlib.sha256(key.encode()).hexdigest()[:20]}.so"
    try:
        folder = cache_folder()
        ensure_folder(folder)
        writable = os.access(folder, os.W_OK) or (folder / name).is_file()
    except LaunchError:
        writable = False
    path = (folder if writable else _temporary_folder()) / name
    if path.is_file():
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # damaged
            path.unlink(missing_ok=True)
    _compile(compiler, source, path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompileError(
            f"what {compiler} made of a C++ stage cannot be loaded: {error}. "
            "Use gdn_ops.using('torch')."
        ) from error


def _compiler() -> str:
    names = [name] if (name := chosen_compiler()) else COMPILERS
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise CompileError(
            f"C++ stages need a compiler, and there is no {' or '.join(names)} on the PATH; "
            f"install g++, or name a compiler in {COMPILER_VARIABLE}."
        )
    return found


def _compile(compiler: str, source: str, path: Path) -> None:
    """Compile into a file, completely or not at all."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [compiler, *FLAGS, "-x", "c++", "-", "-o", str(made)]
        try:
            subprocess.run(
                command, input=source.encode(), capture_output=True, check=True, timeout=SECONDS
            )
        except subprocess.CalledProcessError as error:
            text = error.stderr.decode(errors="replace").strip()
            line = next((x for x in text.splitlines() if "error" in x), text[-300:])
            raise CompileError(
                f"{compiler} cannot compile a C++ stage: {line}. "
                f"Name another compiler in {COMPILER_VARIABLE}, or use gdn_ops.using('torch')."
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(
                f"{compiler} cannot compile a C++ stage: {error}. "
                f"Name another compiler in {COMPILER_VARIABLE}, or use gdn_ops.using('torch')."
            ) from error
        os.replace(made, path)


@cache
def _temporary_folder() -> Path:
    """A folder of this process, where the cache folder cannot be written."""
    folder = Path(tempfile.mkdtemp(prefix="gdn-ops-cpp-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
