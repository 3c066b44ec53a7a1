"""Text that is safe to print: a text from a database or a driver may contain terminal commands,
and one that a user gave the password of a server.
"""

from __future__ import annotations

from unicodedata import category

from gdn_ops.results_url import without_passwords

_KEPT = "\n\t"
_UNSEEN = ("Cc", "Cf", "Zl", "Zp")
"""Categories of characters that are not seen but act: control characters, what turns the order of
a line around or hides in it, separators of lines."""


def printable(text: str) -> str:
    """The text without passwords and characters that are not seen, other than newlines and tabs."""
    text = without_passwords(text)
    if text.isprintable():
        return text
    return "".join(c for c in text if c in _KEPT or category(c) not in _UNSEEN)
