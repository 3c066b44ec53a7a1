"""The file of settings: what it may say, and how it is refused."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdn_ops.codegen.errors import InvalidInput, UnknownName
from gdn_ops.tuner.check.settings import Exemption, RowSettings, Settings, StaticLimits
from gdn_ops.tuner.check.settings_file import read_settings, settings_of

TOML = pytest.mark.skipif(sys.version_info < (3, 11), reason="TOML is read from Python 3.11 on")
TEXT = """
threshold = "4%"
floor = "1%"

[[row]]
match = "forward-*"
target = "h200"
threshold = "8%"

[[row]]
match = "decode-*"
floor = "0%"

[[exempt]]
match = "decode-*"
reason = "rewritten; to be re-tuned"
expires = 2030-01-31

[static]
instructions = "2%"
"""
DATA: dict[str, Any] = {
    "threshold": "4%",
    "floor": "1%",
    "row": [
        {"match": "forward-*", "target": "h200", "threshold": "8%"},
        {"match": "decode-*", "floor": "0%"},
    ],
    "exempt": [
        {"match": "decode-*", "reason": "rewritten; to be re-tuned", "expires": "2030-01-31"}
    ],
    "static": {"instructions": "2%"},
}


def expected(path: Path) -> Settings:
    return Settings(
        threshold=0.04,
        floor=0.01,
        rows=(
            RowSettings(match="forward-*", target="h200", threshold=0.08),
            RowSettings(match="decode-*", floor=0.0),
        ),
        exemptions=(
            Exemption(
                match="decode-*", reason="rewritten; to be re-tuned", expires=date(2030, 1, 31)
            ),
        ),
        static=StaticLimits(instructions=0.02),
        file=str(path),
    )


def written(folder: Path, data: Any) -> Path:
    path = folder / "check.json"
    path.write_text(json.dumps(data))
    return path


def refusal(folder: Path, data: Any) -> str:
    path = written(folder, data)
    with pytest.raises((InvalidInput, UnknownName)) as raised:
        read_settings(path)
    message = str(raised.value)
    assert message.startswith(str(path)), message
    assert "\n" not in message
    return message.removeprefix(str(path))


@TOML
def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gdn-check.toml"
    path.write_text(TEXT)
    assert read_settings(path) == expected(path)


def test_json_says_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, DATA)
    assert read_settings(path) == expected(path)


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, {})
    assert read_settings(path) == Settings(file=str(path))


@TOML
def test_the_folders_own_file_is_taken_if_none_is_named(tmp_path: Path) -> None:
    assert settings_of(None, tmp_path) == Settings()
    own = tmp_path / "gdn-check.toml"
    own.write_text('threshold = "9%"')
    assert settings_of(None, tmp_path).threshold == 0.09
    assert settings_of(written(tmp_path, DATA), tmp_path).threshold == 0.04


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"cannot read the settings file .*none.toml"):
        settings_of(tmp_path / "none.toml", tmp_path)


@TOML
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threshold = 3%", "is not TOML"),
        ("[row]\nmatch = 'x'", r"row is \{.*begin every entry with \[\[row\]\]"),
        ("[[exempt]]\nmatch='x'\nreason='y'\nexpires=2030-01-31T10:00:00", "write a day such as"),
    ],
)
def test_what_toml_alone_can_say_wrongly(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "gdn-check.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=says) as raised:
        read_settings(path)
    assert str(path) in str(raised.value)


ROW = {"match": "x", "threshold": "5%"}
EXEMPT = {"match": "x", "reason": "y", "expires": "2030-01-31"}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([], " is []; write a table"),
        ({"treshold": "3%"}, ": unknown key 'treshold'; did you mean 'threshold'?"),
        ({"threshold": 0.03}, ": threshold is 0.03, which is no percentage"),
        ({"threshold": "3"}, ": threshold is '3', which is no percentage"),
        ({"threshold": "0%"}, ": a threshold of 0% must be > 0%"),
        ({"floor": "4%"}, ": a floor of 4% must be >= 0% and at most the threshold, 3%"),
        ({"row": ROW}, ": row is {"),
        ({"row": [ROW, 3]}, ": [[row]] 2 is 3; write a table"),
        ({"row": [{**ROW, "matches": "x"}]}, ": [[row]] 1: unknown key 'matches'"),
        ({"row": [{"threshold": "5%"}]}, ': [[row]] 1 has no match; add match = "..."'),
        ({"row": [{**ROW, "match": " "}]}, ": [[row]] 1: match is ' '; write a text"),
        ({"row": [{**ROW, "target": 90}]}, ": [[row]] 1: target is 90; write a text"),
        ({"row": [{"match": "x"}]}, ": [[row]] 1 sets nothing; give it a threshold or a floor"),
        ({"row": [{**ROW, "threshold": "0%"}]}, ": [[row]] 1: a threshold of 0% must be > 0%"),
        ({"row": [ROW, {**ROW, "floor": "6%"}]}, ": [[row]] 2: a floor of 6% must be"),
        ({"row": [{**ROW, "floor": "-1%"}]}, ": [[row]] 1: floor is '-1%', which is no"),
        ({"exempt": [{**EXEMPT, "reason": ""}]}, ": [[exempt]] 1: reason is ''; write a text"),
        ({"exempt": [{**EXEMPT, "threshold": "1%"}]}, ": [[exempt]] 1: unknown key 'threshold'"),
        ({"exempt": [{**EXEMPT, "expires": "2030-02-30"}]}, ": [[exempt]] 1: expires is '2030-"),
        ({"exempt": [{**EXEMPT, "expires": "20300131"}]}, ": [[exempt]] 1: expires is '2030013"),
        ({"exempt": [{**EXEMPT, "expires": 2030}]}, "2030; write a day such as 2030-01-31."),
        ({"exempt": [{**EXEMPT, "expires": None}]}, "None; write a day such as 2030-01-31."),
        ({"static": "2%"}, ": [static] is '2%'; write a table"),
        ({"static": {"registers": "2%"}}, ": [static]: unknown key 'registers'"),
        ({"static": {"instructions": 2}}, ": [static]: instructions is 2, which is no percentage"),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(data: Any, says: str, tmp_path: Path) -> None:
    assert says in refusal(tmp_path, data)


@pytest.mark.parametrize("key", EXEMPT)
def test_an_exemption_needs_everything_but_a_target(key: str, tmp_path: Path) -> None:
    data = {"exempt": [EXEMPT, {k: v for k, v in EXEMPT.items() if k != key}]}
    assert f": [[exempt]] 2 has no {key}; add {key}" in refusal(tmp_path, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("3%"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["match", "target", "threshold", "floor", "reason", "expires"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FILES = st.dictionaries(
    st.sampled_from(["threshold", "floor", "row", "exempt", "static", "else"]), JSON
)


@given(FILES)
def test_no_file_raises_anything_but_a_message(
    tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]
) -> None:
    path = written(tmp_path_factory.getbasetemp(), data)
    try:
        settings = read_settings(path)
    except (InvalidInput, UnknownName) as error:
        assert str(path) in str(error)
    else:
        assert 0 <= settings.floor <= settings.threshold <= 1
