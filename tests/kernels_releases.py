"""The tests of exported kernels with Hugging Face's ``kernels``, on releases of it.

    python -m tests.kernels_releases          # every release
    python -m tests.kernels_releases 0.17.2   # one

Each release of transformers accepts one minor release of ``kernels`` only, so both are installed
into a folder of this environment, once, and are on the path of its run only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.side_installs import folder_with
from tests.triton_versions import environment

RELEASES = {"0.17.2": "5.22.2"}
"""The releases of ``kernels``, each with a release of transformers that accepts it."""
ROOT = Path(__file__).resolve().parent.parent
TEST = "tests/gdn_ops/integrations/test_kernels.py"


def folder_of(release: str) -> Path:
    """Return the folder a release is in; it is installed there if it is not yet."""
    packages = [f"kernels=={release}", f"transformers=={RELEASES[release]}"]
    return folder_with(f"kernels-{release}", packages)


def run(release: str) -> int:
    """Run the tests on a release; pytest's exit code."""
    env = environment(folder_of(release))
    code = "from transformers.utils import is_kernels_available as found; assert found()"
    subprocess.run([sys.executable, "-c", code], env=env, check=True, cwd=ROOT)
    print(f"== kernels {release}, transformers {RELEASES[release]}", flush=True)
    pytest = [sys.executable, "-m", "pytest", "-n", "0", TEST]
    return subprocess.run(pytest, env=env, cwd=ROOT).returncode


def main(releases: list[str]) -> int:
    """Run every release asked for, whatever becomes of the others; 1 if one failed."""
    if unknown := [release for release in releases if release not in RELEASES]:
        print(f"unknown: {', '.join(unknown)}; name some of {', '.join(RELEASES)}")
        return 2
    failed = [release for release in releases or RELEASES if run(release)]
    print(f"== failed on {', '.join(failed)}" if failed else "== passed on all")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
