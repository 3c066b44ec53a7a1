"""Whether the Triton that is installed is the one that made the committed baselines."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest

from tests.triton_versions import ROOT

FOLDER = ROOT / "baselines/static"
TRITON = json.loads((FOLDER / "sm_90.json").read_text())["triton"]

needs_pinned_triton = pytest.mark.skipif(
    version("triton") != TRITON,
    reason=f"the baselines are those of Triton {TRITON}, and this is {version('triton')}",
)
