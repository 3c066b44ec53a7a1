"""Rendered source as importable modules, in a cache folder that belongs to the user."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from gdn_ops.codegen.errors import LaunchError
from gdn_ops.codegen.private_folder import ensure_folder


def load_module(name: str, source: str, folder: Path) -> ModuleType:
    """Import rendered source as a module, from a file named by the source's hash.

    Triton reads a kernel's source back from its file, so it must exist. A missing folder is created
    with mode 0700. A file that does not hold the source (damaged, tampered with) is written again.

    Raises:
        LaunchError: the folder cannot be written or belongs to another user.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()
    module_name = f"gdn_rendered.{name}_{digest[:16]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    path = folder / f"{name}_{digest[:16]}.py"
    _ensure_file(path, source)
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # run the string that was hashed; the file is for Triton, which parses it again
    exec(compile(source, str(path), "exec"), module.__dict__)
    sys.modules[module_name] = module
    return module


def _ensure_file(path: Path, source: str) -> None:
    ensure_folder(path.parent)
    try:
        if path.is_file() and path.read_bytes() == source.encode():
            return
        _replace(path, source)
    except OSError as error:
        raise LaunchError(
            f"cannot write rendered kernels to {path.parent}: {error}; "
            "set GDN_CACHE_DIR to a writable folder."
        ) from error


def _replace(path: Path, source: str) -> None:
    """Write a file completely or not at all, and leave no temporary file."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as tmp:
        try:
            tmp.write(source)
            tmp.close()
            os.replace(tmp.name, path)
        except BaseException:
            Path(tmp.name).unlink(missing_ok=True)
            raise
