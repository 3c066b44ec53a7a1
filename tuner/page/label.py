"""Stored text in a figure: it is never markup, a template or a colour."""

from __future__ import annotations

from html import escape

from gdn_ops.tuner.report.printable import printable

LONGEST = 90


def label(value: object, longest: int = LONGEST) -> str:
    """A text for Plotly, which reads a little HTML, that shows a stored value as it is.

    ``@`` begins a colour of the theme in the page's figures, so it is escaped too.
    """
    text = " ".join(printable(str(value)).split())
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return escape(text, quote=False).replace("@", "&#64;")


def rounded(number: float | None) -> float | None:
    """A number with five digits, which keeps the page small."""
    return None if number is None else float(f"{number:.5g}")


def digits(number: float) -> str:
    """A number with three digits, or with all before the point if there are more."""
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"
