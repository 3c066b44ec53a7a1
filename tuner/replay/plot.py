"""The scores of a replay as a drawing: a line per strategy, the mean over the spaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gdn_ops.tuner.replay.replay import CHECKPOINTS
from gdn_ops.tuner.replay.table import ALL, Entry, with_means

WIDTH, HEIGHT, MARGIN, LEGEND = 640, 400, 50, 130
LOWEST = 0.5
"""The fraction of the optimum at the bottom; lower ones are drawn there."""
COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5a97", "#c77d0a", "#444444")


def svg(entries: Sequence[Entry]) -> str:
    """An SVG drawing; the evaluations are on a logarithmic axis, so that they are evenly apart."""
    several = len({entry.space for entry in entries}) > 1
    drawn = [e for e in with_means(entries) if e.space == ALL or not several]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_grid(),
    ]
    for i, entry in enumerate(drawn):
        colour = COLOURS[i % len(COLOURS)]
        points = " ".join(
            f"{_x(j):.1f},{_y(score.mean):.1f}" for j, score in enumerate(entry.scores)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        x, y = WIDTH - LEGEND + 10, MARGIN + 18 * i
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{entry.strategy}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _grid() -> Iterator[str]:
    right, bottom = WIDTH - LEGEND, HEIGHT - MARGIN
    for tenth in range(int(10 * LOWEST), 11):
        y = _y(tenth / 10)
        yield f'<line x1="{MARGIN}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#dddddd"/>'
        yield f'<text x="{MARGIN - 28}" y="{y + 4:.1f}">{tenth / 10}</text>'
    for j, count in enumerate(CHECKPOINTS):
        yield f'<text x="{_x(j) - 10:.1f}" y="{bottom + 18}">{count}</text>'
    yield f'<text x="{MARGIN}" y="{HEIGHT - 10}">evaluations</text>'
    yield f'<text x="{MARGIN}" y="{MARGIN - 20}">optimum / best found</text>'


def _x(index: int) -> float:
    return MARGIN + 20 + index * (WIDTH - LEGEND - MARGIN - 40) / (len(CHECKPOINTS) - 1)


def _y(fraction: float) -> float:
    share = (max(fraction, LOWEST) - LOWEST) / (1 - LOWEST)
    return HEIGHT - MARGIN - share * (HEIGHT - 2 * MARGIN)
