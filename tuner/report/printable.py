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
    """The text without passwords, and with escapes such as ``\\x1b`` for what is not seen.

    Newlines and tabs stay. Escapes and not nothing, so that a path is named as it is.
    """
    text = without_passwords(text).replace("\r\n", "\n")
    if text.isprintable():
        return text
    return "".join(
        c if c in _KEPT or category(c) not in _UNSEEN else c.encode("unicode_escape").decode()
        for c in text
    )
