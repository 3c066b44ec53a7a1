"""Importing a library in a process without gdn-ops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

SECONDS = 300.0
BLOCKED = ("gdn_ops", "jinja2", "optuna", "sqlalchemy", "alembic", "rich", "typer", "transformers")
"""Packages that cannot be imported while the library's modules are."""

_IMPORTS = """
import importlib, importlib.util, pkgutil, sys

folder, name, blocked, cache = *sys.argv[1:3], set(sys.argv[3].split(",")), sys.argv[4]

class Blocked:
    def find_spec(self, module, path=None, target=None):
        if module.partition(".")[0] in blocked:
            raise ImportError(f"{module} is not part of the library and must not be needed")

sys.meta_path.insert(0, Blocked())
import torch
try:
    import triton
except ImportError:
    pass  # there is none for this system

# from here on compiled files are looked for there; those of torch above were found and saved time
sys.pycache_prefix = cache

spec = importlib.util.spec_from_file_location(name, f"{folder}/__init__.py")
package = importlib.util.module_from_spec(spec)
sys.modules[name] = package
spec.loader.exec_module(package)
for module in pkgutil.walk_packages(package.__path__, f"{name}."):
    importlib.import_module(module.name)
for public in package.__all__:
    getattr(package, public)
"""


def failed_import(folder: Path, package: str) -> list[str]:
    """Import every module of a package, in a process in which gdn-ops cannot be imported.

    Nothing is written to the folder, and no compiled file in it is read.

    Args:
        folder: the folder of the package.
        package: the name under which it is imported.

    Returns:
        A sentence that says what failed; empty if nothing did.
    """
    with TemporaryDirectory(prefix="gdn-verify-") as cache:
        command = [sys.executable, "-s", "-c", _IMPORTS]
        command += [str(folder.absolute()), package, ",".join(BLOCKED), cache]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("TRITON_INTERPRET", None)
        try:
            run = subprocess.run(
                command, cwd=cache, env=environment, capture_output=True, text=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"importing {package} took longer than {SECONDS:.0f} s; export it again."]
    if run.returncode == 0:
        return []
    last = (run.stderr.strip() or f"exit status {run.returncode}").splitlines()[-1]
    return [f"{package} cannot be imported without gdn-ops: {last}"]
