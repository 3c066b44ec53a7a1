"""``gdn merge`` takes an exported wheel."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.store.merge_files import merge_files
from tests.results import measured_winners


def test_the_winners_of_a_wheel_are_taken(shipped_wheel: Path, tmp_path: Path) -> None:
    into = tmp_path / "all.db"
    assert run(["merge", str(shipped_wheel), "--into", str(into)]) == 0
    taken = {(w.problem_id, w.target, w.variant_id, w.median) for w in read_winners(into).winners}
    shipped = measured_winners()
    assert taken == {(w.problem_id, w.target, w.variant_id, w.median) for w in shipped}
    again = merge_files([shipped_wheel], into)
    assert again.count("taken") == 0 and not again.refused


def test_a_wheel_without_a_database_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as wheel:
        wheel.writestr("other/__init__.py", "")
    with pytest.raises(InvalidInput, match="has 0 databases in it, not 1; name a wheel that"):
        merge_files([tmp_path / "other.whl"], tmp_path / "all.db")
    (tmp_path / "text.whl").write_text("no archive")
    with pytest.raises(InvalidInput, match=r"text.whl cannot be read as a wheel"):
        merge_files([tmp_path / "text.whl"], tmp_path / "all.db")
    with pytest.raises(InvalidInput, match=r"nowhere.whl cannot be read as a wheel"):
        merge_files([tmp_path / "nowhere.whl"], tmp_path / "all.db")
    assert not (tmp_path / "all.db").exists()


def test_a_wheel_whose_database_is_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "odd.whl", "w") as wheel:
        wheel.writestr("odd/results.db", "text")
    with pytest.raises(InvalidInput, match=r"odd.whl is not an SQLite database"):
        merge_files([tmp_path / "odd.whl"], tmp_path / "all.db")
