"""Every command and all Python of docs/export.md, in the order of the page."""

from __future__ import annotations

import glob
import re
import shlex
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.cli import run

PAGE = Path(__file__).parents[3] / "docs" / "export.md"
IN_C = "## Compiled kernels for an engine in C\n"
"""A section with a test of its own, cubins/test_guide.py."""
BEFORE, _, REST = PAGE.read_text().partition(IN_C)
TEXT = BEFORE + REST[REST.index("\n## ") :]
BLOCKS = re.findall(r"^```(sh|python)[^\n]*\n(.*?)^```", TEXT, flags=re.M | re.S)
PRINTED = [r"runs on  (cpp|torch) ", r"runs on  (cpp|torch) ", r"'plan': '(cpp|torch)'"]
"""What each block of Python prints, among other things; C++ only where it compiles."""
WITHOUT_US = (
    "import sys; sys.modules.update(gdn_ops=None, jinja2=None); sys.path.insert(0, 'site'); "
    "exec(open('code.py').read())"
)


def test_a_reader_can_do_what_the_guide_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GDN_RESULTS_DB", str(tmp_path / "own.db"))
    _few_winners(tmp_path / "results.db")
    ran: list[str] = []
    for kind, text in BLOCKS:
        if kind == "sh":
            for line in text.splitlines():
                program, *words = shlex.split(line)
                if program == "gdn":
                    assert run(words) == 0, line
                else:
                    _pip(words)
                ran.append(program)
        else:
            (tmp_path / "code.py").write_text(text)
            done = subprocess.run(
                [sys.executable, "-c", WITHOUT_US], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            assert re.search(PRINTED[ran.count(kind)], done.stdout)
            ran.append(kind)
    wheel, kernel = ["gdn", "gdn", "pip", "gdn", "python"], ["gdn", "gdn", "python"]
    assert ran == [*wheel, *kernel, "gdn", "gdn", "gdn", "gdn", "gdn", "python", "gdn", "gdn"]


def _few_winners(path: Path) -> None:
    """The shipped database with two of its winners, as each takes seconds here."""
    path.write_bytes(shipped_database().read_bytes())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "DELETE FROM winner_rows WHERE id NOT IN (SELECT min(id) FROM winner_rows "
            "WHERE superseded IS NULL AND provenance = 'measured' "
            "GROUP BY substr(problem_id, 1, 6) = 'decode')"
        )


def _pip(words: list[str]) -> None:
    """Run pip as the guide does, into a folder and without the network."""
    assert words[0] == "install"
    (wheel,) = glob.glob(words[1])
    options = ["--no-deps", "--no-index", "--quiet", "--target", "site"]
    command = [sys.executable, "-m", "pip", "install", *options, wheel]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.exhaustive
def test_a_wheel_runs_a_model_of_transformers(shipped_wheel: Path, tmp_path: Path) -> None:
    page = (PAGE.parent / "engines.md").read_text()
    (text,) = re.findall(r'^```python title="with a wheel"\n(.*?)^```', page, flags=re.M | re.S)
    (tmp_path / "code.py").write_text(text)
    with zipfile.ZipFile(shipped_wheel) as wheel:
        wheel.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_US],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"
