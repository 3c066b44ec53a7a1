"""The tests of the backend in flash-linear-attention and of its models, on releases of it.

    python -m tests.fla_releases          # every release that is supported
    python -m tests.fla_releases 0.6.0    # one

It is no dependency of this environment: where it is installed, transformers calls it, and without
a GPU its kernels do not start. Each release is installed into a folder of this environment, once,
and is on the path of its run only.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.side_installs import folder_with
from tests.triton_versions import environment

RELEASES = ("0.5.2", "0.6.0")
ROOT = Path(__file__).resolve().parent.parent
TESTS = (
    "tests/gdn_ops/integrations/test_fla.py", "tests/gdn_ops/integrations/test_fla_models.py",
    "tests/tuner/spaces/test_model_types.py", "tests/gdn_ops/providers/test_live_fla.py",
)  # fmt: skip


def folder_of(release: str) -> Path:
    """Return the folder a release is in; it is installed there if it is not yet."""
    packages = [f"fla-core=={release}", f"flash-linear-attention=={release}", "einops"]
    return folder_with(f"fla-{release}", packages)


def run(release: str) -> int:
    """Run the tests on a release; pytest's exit code."""
    env = environment(folder_of(release))
    code = f"import fla; assert fla.__version__ == {release!r}, fla.__version__"
    subprocess.run([sys.executable, "-c", code], env=env, check=True, cwd=ROOT)
    print(f"== flash-linear-attention {release}", flush=True)
    pytest = [sys.executable, "-m", "pytest", "-n", "0", *TESTS]
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
