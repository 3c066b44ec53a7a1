"""A copy of the project in which a test plants a change, and the static check run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.triton_versions import ROOT

PARTS = ("codegen", "gdn_ops", "templates", "tuner", "baselines")
SCRIPT = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from gdn_ops.tuner.check.static.check import Work, check_static, update
from gdn_ops.tuner.check.static.shipping import PROBLEMS

asked = json.loads(sys.argv[1])
work = Work(problems={name: PROBLEMS[name] for name in asked.pop("problems")}, workers=1)
run = update if asked.pop("update", False) else check_static
outcome = run(["sm_90"], folder=Path("baselines/static"), work=work, **asked)
rows = {row.name: asdict(row) for row in outcome.rows}
json.dump({"rows": rows, "notes": outcome.notes, "exit": outcome.exit_code()}, sys.stdout)
"""


class Tree:
    """A copy of the project.

    Args:
        folder: where it is made.
        cache: folder of Triton's cache and of the cache of gdn-ops, which copies may share.
    """

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self._cache = folder, cache
        for part in PARTS:
            # with the bytecode, which is valid in the copy too and saves compiling it each time,
            # but not what another process is just writing
            unfinished = shutil.ignore_patterns("*.pyc.*")
            shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=unfinished)
        shutil.copy(ROOT / "results.db", folder)

    @property
    def baseline(self) -> Path:
        return self.folder / "baselines/static/sm_90.json"

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace each occurrence of a text, which must be there."""
        path = self.folder / file
        text = path.read_text()
        assert old in text, (file, old)
        path.write_text(text.replace(old, new))

    def commit(self) -> None:
        """Make the tree a git repository, with everything committed."""
        settings = ("user.name=test", "user.email=test@example.com", "commit.gpgsign=false")
        git = ["git", "-C", str(self.folder), *(word for s in settings for word in ("-c", s))]
        for words in (["init", "--quiet"], ["add", "--all"], ["commit", "-qm", "base"]):
            subprocess.run([*git, *words], check=True)

    def check(self, **asked: Any) -> dict[str, Any]:
        """Run the check of sm_90 in the tree: its rows by name, notes and exit code.

        Args:
            asked: ``problems``, names in ``shipping.PROBLEMS``; ``update``; and arguments of
                ``check_static``.
        """
        env = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "TRITON_CACHE_DIR": str(self._cache / "triton"),
            "GDN_CACHE_DIR": str(self._cache / "gdn"),
        }
        command = [sys.executable, "-c", SCRIPT, json.dumps(asked)]
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found
