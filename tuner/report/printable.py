"""Text that is safe to print: what a database or a driver says may hold a terminal's commands."""

from __future__ import annotations

_KEPT = "\n\t"
_CONTROLS = {
    code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _KEPT
}  # fmt: skip


def printable(text: str) -> str:
    """A text without control characters, but for ends of lines and tabs."""
    return text.translate(_CONTROLS)
