"""Text from a database reaches the terminal without what acts on it."""

from __future__ import annotations

import pytest

from gdn_ops.tuner.report.printable import printable


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("naïve α_t 漢字 🙂", "naïve α_t 漢字 🙂"),
        ("one\ttwo\nthree", "one\ttwo\nthree"),
        ("\x1b[31mred\x07\r\x9b2J", "\\x1b[31mred\\x07\\r\\x9b2J"),
        ("H100\u202e tsaf\u2066\u200b\ufeff", "H100\\u202e tsaf\\u2066\\u200b\\ufeff"),
        ("of Windows\r\n", "of Windows\n"),
        ("one line\u2028or two\u2029", "one line\\u2028or two\\u2029"),
    ],
)
def test_what_is_not_seen_is_escaped(text: str, seen: str) -> None:
    assert printable(text) == seen
