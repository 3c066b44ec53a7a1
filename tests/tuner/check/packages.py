"""Small packages named gdn_ops, to be a side of a check."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path


def package(folder: Path, text: str = "") -> Path:
    """A folder with a package gdn_ops that holds nothing but some text."""
    (folder / "gdn_ops").mkdir(parents=True, exist_ok=True)
    (folder / "gdn_ops" / "__init__.py").write_text(text)
    return folder


def wheel(path: Path, text: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gdn_ops/__init__.py", text)
    return path


def repository(folder: Path, *, commits: int = 2) -> Path:
    """A git repository of a package, with a branch ``main`` of some commits."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    for number in range(commits):
        package(folder, f"NUMBER = {number}\n")
        git(folder, "add", "-A")
        git(folder, "commit", "--quiet", "-m", f"commit {number}")
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    done = subprocess.run(
        ["git", *who, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()
