"""Text that is safe to print: a text from a database or a driver may contain terminal commands."""

from __future__ import annotations

from unicodedata import category

_KEPT = "\n\t"
_UNSEEN = ("Cc", "Cf", "Zl", "Zp")
"""Categories of characters that are not seen but act: control characters, what turns the order of
a line around or hides in it, separators of lines."""


def printable(text: str) -> str:
    """The text without characters that are not seen, other than newlines and tabs."""
    if text.isprintable():
        return text
    return "".join(c for c in text if c in _KEPT or category(c) not in _UNSEEN)
