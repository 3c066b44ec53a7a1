"""The exported loader, compiled by this machine's C compiler, on the stand-in for the driver."""

from __future__ import annotations

import ctypes as c
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gdn_ops.codegen.problem import FLAGS, Problem
from gdn_ops.codegen.tensor import TENSORS

STAND_IN = Path(__file__).parent / "stand_in"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion")
STATUSES = (
    "OK", "NO_DRIVER", "NO_CONTEXT", "WRONG_DEVICE", "BAD_FILE", "NO_MEMORY", "UNKNOWN_SET",
    "NOT_LOADED", "MISSING", "NOT_READ", "MISALIGNED", "WRONG_SIZE", "TOO_LARGE", "DRIVER_ERROR",
)  # fmt: skip
DRIVER = (
    "cuDriverGetVersion", "cuGetErrorName", "cuCtxGetCurrent", "cuCtxGetDevice",
    "cuDeviceGetAttribute", "cuModuleLoadData", "cuModuleUnload", "cuModuleGetFunction",
    "cuFuncGetAttribute", "cuFuncSetAttribute", "cuFuncSetCacheConfig", "cuMemsetD8Async",
    "cuLaunchKernel",
)  # fmt: skip
STRIDES = ("q", "k", "v", "g", "beta", "pool", "slots")
NAMES = list(TENSORS)


class Error(c.Structure):
    _fields_ = [("status", c.c_int), ("message", c.c_char * 512)]


class Buffer(c.Structure):
    _fields_ = [("at", c.c_uint64), ("bytes", c.c_uint64)]


class Call(c.Structure):
    _fields_ = [
        *((name, c.c_int64) for name in ("B", "T", "N", "S")),
        *((f"stride_{name}", c.c_int64) for name in STRIDES),
        ("scale", c.c_float),
        ("offsets", c.POINTER(c.c_int32)),
        ("tables", Buffer),
        ("workspace", Buffer),
        ("tensor", Buffer * len(NAMES)),
    ]


class CProblem(c.Structure):
    _fields_ = [
        *((name, c.c_char_p) for name in ("op", "gate", "dtype", "state_dtype")),
        *((name, c.c_int64) for name in ("delta", "H", "HV", "K", "V", "tokens", "sequences")),
        ("flags", c.c_uint32),
    ]

    @classmethod
    def of(cls, p: Problem) -> CProblem:
        words = (x.encode() for x in (p.op, p.rule.gate, p.dtype, p.state_dtype))
        flags = sum(1 << bit for bit, flag in enumerate(FLAGS) if getattr(p, flag))
        return cls(*words, p.rule.delta, p.H, p.HV, p.K, p.V, p.tokens, p.sequences, flags)


class Refused(Exception):
    """The loader's status and sentence."""


class Device:
    """The stand-in for the driver; an H200, if not told otherwise."""

    def __init__(self, library: Path) -> None:
        self.library = c.CDLL(str(library))
        self.library.stand_in_notes.restype = c.c_char_p
        self.functions = (c.c_void_p * len(DRIVER))(
            *(c.cast(getattr(self.library, name), c.c_void_p).value for name in DRIVER)
        )

    def set(
        self, major: int = 9, minor: int = 0, version: int = 13000, optin: int = 232448,
        context: int = 1, failing: int = 0,
    ) -> None:  # fmt: skip
        self.library.stand_in_device(major, minor, version, optin, context, failing)

    def notes(self) -> list[dict[str, Any]]:
        """The calls since the last time."""
        return [json.loads(line) for line in self.library.stand_in_notes().splitlines()]


class Loader:
    """The functions of the loader; those that return a status raise ``Refused``."""

    def __init__(self, library: Path, device: Device) -> None:
        self._library, self._device = c.CDLL(str(library)), device
        self._library.gdn_name.restype = c.c_char_p
        self.opened = c.c_void_p()

    def open(self, folder: Path) -> None:
        at = c.byref(self.opened)
        self._checked("gdn_open", at, str(folder).encode(), self._device.functions)

    def close(self) -> None:
        self._library.gdn_close(self.opened)
        self.opened = c.c_void_p()

    def names(self) -> list[str]:
        return [self._library.gdn_name(n).decode() for n in range(self._library.gdn_sets())]

    def find(self, name: str) -> int:
        return int(self._library.gdn_find(name.encode()))

    def nearest(self, problem: Problem) -> int:
        return int(self._library.gdn_nearest(c.byref(CProblem.of(problem))))

    def load(self, number: int) -> None:
        self._checked("gdn_load", self.opened, number)

    def workspace(self, number: int, call: Call) -> int:
        found = c.c_uint64()
        self._checked("gdn_workspace", number, c.byref(call), c.byref(found))
        return found.value

    def tables(self, number: int, call: Call) -> bytes:
        found = c.c_uint64()
        self._checked("gdn_tables", number, c.byref(call), None, c.byref(found))
        host = c.create_string_buffer(max(1, found.value))
        self._checked("gdn_tables", number, c.byref(call), host, c.byref(found))
        return host.raw[: found.value]

    def launch(self, number: int, call: Call, stream: int = 0) -> None:
        stream_at = c.c_void_p(stream)
        self._checked("gdn_launch", self.opened, number, c.byref(call), stream_at)

    def _checked(self, name: str, *arguments: Any) -> None:
        error = Error()
        status = getattr(self._library, name)(*arguments, c.byref(error))
        assert status == error.status
        if status:
            raise Refused(f"{STATUSES[status]}: {error.message.decode()}")


def compiled(source: Path, to: Path, *options: str) -> Path:
    """Compile C to a shared library, or to a program if the options say so."""
    assert COMPILER is not None
    kind = () if "-DPROGRAM" in options else ("-shared", "-fPIC")
    command: Sequence[str] = [COMPILER, *kind, "-O1", str(source), "-o", str(to), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return to


def stand_in(folder: Path) -> Path:
    """The stand-in for the driver, as libcuda.so.1 in a folder."""
    library = folder / "libcuda.so.1"
    return compiled(
        STAND_IN / "driver.c", library, f"-I{STAND_IN}", "-std=c11", "-Wl,-soname,libcuda.so.1"
    )
