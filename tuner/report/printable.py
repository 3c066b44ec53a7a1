"""Text that is safe to print: a text from a database or a driver may contain terminal commands."""

from __future__ import annotations

_KEPT = "\n\t"
_CONTROLS = {
    code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _KEPT
}  # fmt: skip


def printable(text: str) -> str:
    """The text without control characters other than newlines and tabs."""
    return text.translate(_CONTROLS)
