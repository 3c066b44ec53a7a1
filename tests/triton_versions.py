"""The tests marked ``triton``, under other versions of Triton than the one installed.

    python -m tests.triton_versions                       # every other supported version
    python -m tests.triton_versions 3.9.0 -- -x -k scan   # one, with arguments for pytest

Each version is installed into a folder of this environment, once, and stands in front of the
installed one on the path of the run and of its workers.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib.metadata import version as installed
from pathlib import Path

from tests.side_installs import folder_with

VERSIONS = ("3.6.0", "3.7.1", "3.8.0", "3.9.0")
"""The supported versions: the last of each minor release that pyproject.toml allows."""
FOLDERS = ("tests/codegen", "tests/gdn_ops", "tests/tuner/export/cubins")
"""Where tests are marked; the rest is not even collected."""
ROOT = Path(__file__).resolve().parent.parent


def folder_of(version: str) -> Path:
    """The folder a version of Triton is in; it is installed there if it is not yet."""
    return folder_with(f"triton-{version}", [f"triton=={version}"])


def environment(folder: Path) -> dict[str, str]:
    """The environment in which Python finds the Triton of the folder first."""
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def found(env: dict[str, str]) -> str:
    """The version of the Triton that is imported in an environment."""
    command = [sys.executable, "-c", "import triton; print(triton.__version__)"]
    out = subprocess.run(command, env=env, check=True, capture_output=True, text=True, cwd=ROOT)
    return out.stdout.strip()


def run(version: str, arguments: list[str]) -> int:
    """Run the marked tests under a version; pytest's exit code.

    Raises:
        RuntimeError: Python imports another version.
    """
    env = environment(folder_of(version))
    if found(env) != version:
        raise RuntimeError(
            f"Python imports Triton {found(env)}, not the {version} of {folder_of(version)}; "
            "remove that folder to install it again."
        )
    print(f"== Triton {version}", flush=True)
    pytest = [sys.executable, "-m", "pytest", "-m", "triton", "-n", "2", "--dist", "loadfile"]
    return subprocess.run([*pytest, *FOLDERS, *arguments], env=env, cwd=ROOT).returncode


def main(arguments: list[str]) -> int:
    """Run every version asked for, whatever becomes of the others; 1 if one failed."""
    own, more = arguments, []
    if "--" in arguments:
        at = arguments.index("--")
        own, more = arguments[:at], arguments[at + 1 :]
    parser = argparse.ArgumentParser(prog="python -m tests.triton_versions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    others = [version for version in VERSIONS if version != installed("triton")]
    parser.add_argument(
        "versions", nargs="*", help=f"of {', '.join(VERSIONS)}; by default {', '.join(others)}"
    )
    wanted = parser.parse_args(own).versions or others
    if unknown := [version for version in wanted if version not in VERSIONS]:
        parser.error(f"unsupported: {', '.join(unknown)}; name some of {', '.join(VERSIONS)}")
    failed = [version for version in wanted if run(version, more)]
    print(f"== failed under Triton {', '.join(failed)}" if failed else "== passed under all")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
