"""The command that runs a module of this package in a child process."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = __name__.rsplit(".", 2)[0]
_FOLDER = Path(__file__).parents[1]

_RUN = """
import importlib.util, runpy, sys
name, init, module = sys.argv[1:4]
del sys.argv[1:4]
spec = importlib.util.spec_from_file_location(name, init)
sys.modules[name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[name])
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def worker_command(module: str) -> tuple[str, ...]:
    """Return the arguments of Python that run a module.

    ``-m`` finds a package by its folder's name. A kernel for Hugging Face is imported under another
    name than that of its folder, so a child process has to load it from its path.
    """
    if not module.startswith(f"{_PACKAGE}.") or _FOLDER.name == _PACKAGE:
        return ("-m", module)
    return ("-c", _RUN, _PACKAGE, str(_FOLDER / "__init__.py"), module)
