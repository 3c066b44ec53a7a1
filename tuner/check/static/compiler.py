"""Compiler: the versions of Triton and ptxas, of the installed Triton or of one in a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.toolchain import ptxas_version
from gdn_ops.tuner.workers.worker_pool import Job, WorkerPool

SINCE, BEFORE = (3, 6), (3, 10)
"""The supported versions of Triton: those that pyproject.toml allows."""
SECONDS = 60.0
_VERSION = re.compile(r"""^__version__ = ["'](\d+)\.(\d+)([^"']*)["']""", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Compiler:
    """What turns rendered source into a binary.

    Args:
        triton: its version.
        ptxas: the version of NVIDIA's assembler; empty for AMD, whose assembler is part of Triton.
    """

    triton: str
    ptxas: str

    def __str__(self) -> str:
        return f"Triton {self.triton}" + (f" with ptxas {self.ptxas}" if self.ptxas else "")


@dataclass(frozen=True, kw_only=True)
class OtherTriton:
    """A Triton that is not the installed one.

    Args:
        folder: a folder that holds the package ``triton``.
        version: as its files say.
    """

    folder: Path
    version: str

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables by which a worker finds this Triton first."""
        root = str(Path(str(files("gdn_ops"))).parent)
        path = [str(self.folder), root, *filter(None, [os.environ.get("PYTHONPATH")])]
        return {"PYTHONPATH": os.pathsep.join(path)}


def other_triton(folder: Path) -> OtherTriton:
    """The Triton in a folder such as ``site-packages``.

    Raises:
        InvalidInput: the folder has none, or a version that is not supported.
    """
    try:
        text = (folder / "triton" / "__init__.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise InvalidInput(
            f"--triton {folder}: there is no package `triton` in this folder; install one with "
            f"`pip install --no-deps --target {folder} triton==VERSION`."
        ) from None
    found = _VERSION.search(text)
    if found is None:
        raise InvalidInput(f"--triton {folder}: its package `triton` names no version.")
    version = f"{found[1]}.{found[2]}{found[3]}"
    if not SINCE <= (int(found[1]), int(found[2])) < BEFORE:
        since, before = (".".join(map(str, limit)) for limit in (SINCE, BEFORE))
        raise InvalidInput(
            f"--triton {folder}: it holds Triton {version}; supported are {since} and newer, "
            f"before {before}."
        )
    return OtherTriton(folder=folder.absolute(), version=version)


def compilers(
    pool: WorkerPool, archs: Iterable[str], *, expected: OtherTriton | None = None
) -> dict[str, Compiler]:
    """The compiler of each architecture, as a worker of the pool finds it.

    Args:
        expected: the Triton that the worker must import; None for any.

    Raises:
        InvalidInput: Triton cannot be imported, or it is another one.
    """
    job = Job(kind="compiler", payload={"archs": list(archs)}, timeout=SECONDS)
    result = pool.one(job)
    where = f" in {expected.folder}" if expected else ""
    if result.payload is None:
        raise InvalidInput(f"Triton{where} cannot be used: {result.message}; install it again.")
    triton, file = result.payload["triton"], Path(result.payload["file"])
    if expected and not file.is_relative_to(expected.folder):
        raise InvalidInput(
            f"Python imports Triton {triton} from {file.parent}, not the {expected.version}"
            f"{where}; remove what stands before that folder on PYTHONPATH."
        )
    ptxas: Mapping[str, str] = result.payload["ptxas"]
    return {arch: Compiler(triton=triton, ptxas=found) for arch, found in ptxas.items()}


def run(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a worker does for ``compilers``."""
    import triton

    return {
        "triton": str(triton.__version__),
        "file": str(triton.__file__),
        "ptxas": {arch: ptxas_version(arch) or "" for arch in payload["archs"]},
    }
