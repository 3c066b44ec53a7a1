"""Packages that are installed into a folder of this environment, on the path of one run only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def folder_with(name: str, packages: list[str]) -> Path:
    """Return the folder of a name; the packages are installed there if it does not exist."""
    folder = Path(sys.prefix) / name
    if not folder.exists():
        # what is interrupted leaves no half an installation under the name
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(part), *packages], check=True)
        part.rename(folder)
    return folder
