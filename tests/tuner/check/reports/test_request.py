"""``--report FORMAT[=FILE]``: what it asks for, and what is refused before anything is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.tuner.check.reports import FORMATS
from gdn_ops.tuner.check.reports.request import Request, requests_of


def test_files_and_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    found = requests_of(["junit=out/check.xml", "github", "json=a=b.json", "bencher=~/b.json"])
    assert found == (
        Request("junit", Path("out/check.xml")),
        Request("github"),
        Request("json", Path("a=b.json")),
        Request("bencher", Path("/home/someone/b.json")),
    )
    assert requests_of([]) == ()


def test_every_format_can_be_asked_for() -> None:
    texts = [f"{name}={name}.out" if f.TO_FILE else name for name, f in FORMATS.items()]
    assert [request.format for request in requests_of(texts)] == list(FORMATS)


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="unknown report format 'junitt'; did you mean 'junit'"):
        requests_of(["junitt=a.xml"])
    with pytest.raises(UnknownName, match=r"Known: bencher, .*, pytorch\."):
        requests_of(["=a"])


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["junit"], "'junit' names no file; give --report junit=FILE"),
        (["junit="], "'junit=' names no file; give --report junit=FILE"),
        (["github=a.txt"], "github prints to standard output; give --report github"),
        (["github="], "github prints to standard output; give --report github"),
        (["github", "github"], "github is given twice; give it once"),
        (["json=a", "junit=b/../a"], r"--report json and --report junit both write b/\.\./a"),
        (["json=a", "json=a"], "both write a; give each its own file"),
    ],
)
def test_refused(
    texts: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(InvalidInput, match=why):
        requests_of(texts)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="names a folder; give a file in it"):
        requests_of([f"junit={tmp_path}"])


def test_a_link_to_a_file_that_another_report_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(InvalidInput, match="both write"):
        requests_of([f"junit={tmp_path}/file", f"json={tmp_path}/link"])
