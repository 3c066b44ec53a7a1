"""Row text: what a check found for one row, in words and numbers."""

from __future__ import annotations

from math import isfinite
from statistics import median

from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.check.outcome import CheckRow, Difference, Times
from gdn_ops.tuner.report.printable import printable


def state_text(row: CheckRow) -> str:
    """E.g. ``regressed``, or ``regressed, exempt: <reason>``."""
    return one_line(
        row.state.value if row.exempt is None else f"{row.state.value}, exempt: {row.exempt}"
    )


def base_text(times: Times) -> str:
    """The median time of the base, e.g. ``23.5 ms``."""
    return seconds_text(median(times.base)) if times.base else "-"


def head_text(times: Times) -> str:
    """The median time of the head."""
    return seconds_text(median(times.head)) if times.head else "-"


def ratio_text(times: Times) -> str:
    """Time of the head over time of the base, e.g. ``1.052``; ``-`` if unknown."""
    return f"{times.ratio:.3f}" if isfinite(times.ratio) else "-"


def interval_text(times: Times) -> str:
    """The 95 % interval of the ratio, e.g. ``1.041 .. 1.063``; ``-`` if there is none."""
    return f"{times.low:.3f} .. {times.high:.3f}" if isfinite(times.high) else "-"


def pairs_text(times: Times) -> str:
    """E.g. ``12``, with dropped ones ``12 (2)``; the runs of both sides if measured apart."""
    count = str(len(times.head)) if times.paired else f"{len(times.base)} + {len(times.head)} apart"
    return f"{count} ({times.dropped})" if times.dropped else count


def difference_text(difference: Difference) -> str:
    """E.g. ``registers 128 -> 168 (template)``."""
    base, head = number_text(difference.base), number_text(difference.head)
    return one_line(f"{difference.figure} {base} -> {head} ({difference.cause})")


def number_text(value: float) -> str:
    """A figure: a whole number in full, any other with four digits."""
    return str(int(value)) if float(value).is_integer() else f"{value:.4g}"


def remarks_text(row: CheckRow) -> str:
    """The row's message and notes, in one line; empty if there are none."""
    return _joined(row.message, *row.notes)


def finding_text(row: CheckRow) -> str:
    """The figures of a row in one line; empty if there are none.

    The differences of a static row are the failing ones, if any fails.
    """
    if row.times is not None:
        times = row.times
        if not isfinite(times.ratio):
            return ""
        interval = f" (95 % interval {interval_text(times)})" if isfinite(times.high) else ""
        change = f"{base_text(times)} -> {head_text(times)}"
        return f"{ratio_text(times)} times the base's time{interval}, {change}"
    failing = [d for d in row.differences if d.failing]
    return ", ".join(difference_text(d) for d in failing or row.differences)


def sentence(row: CheckRow) -> str:
    """State, figures, message and notes of a row in one line, without its name."""
    return _joined(state_text(row), finding_text(row), row.message, *row.notes) + "."


def _joined(*parts: str) -> str:
    """Sentences as one, because some end in a full stop and some do not."""
    texts = (one_line(part).rstrip(".") for part in parts)
    return "; ".join(text for text in texts if text)


def one_line(text: str) -> str:
    """The text in one line, without control characters, and with escapes for half surrogates.

    Readers of JSON outside Python refuse a file that has a surrogate without its other half.
    """
    words = " ".join(printable(" ".join(text.split())).split())
    return words.encode("utf-8", "backslashreplace").decode("utf-8")
