"""The versions of what turns a rendered kernel into machine code: driver, Triton and ptxas."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import re
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

NVIDIA_MODULE = Path("/proc/driver/nvidia/version")
AMD_MODULE = Path("/sys/module/amdgpu/version")
_RELEASE = re.compile(r"\bV(\d[\w.]*)")
_VERSION = re.compile(r"""^__version__ = (["'])(.+)\1$""", re.MULTILINE)
_MODULE = re.compile(r"Kernel Module.*?\s(\d+\.\d[\d.]*)\s")


@cache
def installed_version(package: str) -> str | None:
    """The version of an installed package, which is not imported; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def triton_version() -> str | None:
    """The version of Triton; None if it is not installed."""
    return _stated_version("triton", "__init__.py")


def torch_version() -> str:
    """The version of PyTorch, with its build, such as ``2.13.0+cpu``."""
    return _stated_version("torch", "version.py") or "unknown"


@cache
def _stated_version(package: str, file: str) -> str | None:
    """The ``__version__`` that a file of a package states, which is read and not imported.

    A build from source may have another one in its metadata.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        return None
    for folder in spec.submodule_search_locations or ():
        with suppress(OSError, UnicodeDecodeError):
            if found := _VERSION.search((Path(folder) / file).read_text(encoding="utf-8")):
                return found[2]
    return str(importlib.import_module(package).__version__)


@cache
def ptxas_version(arch: str) -> str | None:
    """The version of the assembler that Triton uses for an architecture.

    None for architectures that are not NVIDIA's, and if Triton or its assembler is missing.
    """
    if not arch.startswith("sm_") or importlib.util.find_spec("triton") is None:
        return None
    from triton.backends.nvidia.compiler import get_ptxas_version

    try:
        text = str(get_ptxas_version(int(arch.removeprefix("sm_").rstrip("af"))))
    except (OSError, RuntimeError, ValueError):
        return None
    found = _RELEASE.search(text)
    return found[1] if found else text.strip()


@cache
def driver_version() -> str | None:
    """The version of the GPU's driver on this machine; None if there is none, or it is unknown."""
    try:
        found = _MODULE.search(NVIDIA_MODULE.read_text(errors="replace"))
        if found:
            return found[1]
    except OSError:
        pass
    of_library = _nvml_version()
    if of_library is not None:
        return of_library
    try:
        return AMD_MODULE.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _nvml_version() -> str | None:
    """The driver's version by NVIDIA's management library, which comes with the driver."""
    for name in ("libnvidia-ml.so.1", "nvml.dll"):
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        if library.nvmlInit_v2() != 0:
            continue
        text = ctypes.create_string_buffer(96)
        failed = library.nvmlSystemGetDriverVersion(text, len(text))
        library.nvmlShutdown()
        return None if failed else text.value.decode(errors="replace")
    return None
