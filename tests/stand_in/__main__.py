"""Run pytest or a module on the stand-in GPU: ``python -m tests.stand_in pytest|MODULE ...``.

Child processes find it, too: a sitecustomize on their path installs it where ``GDN_STAND_IN`` is
set. ``GDN_STAND_IN=compile`` also compiles each kernel for sm_90 just as it is launched.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit("usage: python -m tests.stand_in pytest|MODULE [ARGUMENTS]")
    paths = [str(Path(__file__).parent / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ.setdefault("GDN_STAND_IN", "interpret")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    os.environ.setdefault("GDN_GPU_TESTS", "small")
    os.environ["TRITON_INTERPRET"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[1:]])


if __name__ == "__main__":
    main()
