"""What a module of counts prints, in a process that is not set to Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


def counted(module: str, *arguments: str) -> dict[str, Any]:
    """Run ``tests.codegen.compiled.MODULE`` and return the JSON object that it prints."""
    command = [sys.executable, "-m", f"{__package__}.{module}", *arguments]
    environment = {**os.environ, "TRITON_INTERPRET": "0"}
    out = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, Any] = json.loads(out.stdout)
    return found
