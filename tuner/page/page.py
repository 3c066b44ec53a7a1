"""The page: everything that was tuned, as one HTML file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from math import exp, log
from pathlib import Path
from typing import Any

import jinja2

from gdn_ops._version import __version__
from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.dispatch.winner import Winner
from gdn_ops.dispatch.winner_proofs import read_proofs
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.page import figures
from gdn_ops.tuner.page.label import digits
from gdn_ops.tuner.page.roofline import Reached, all_reached, flops_unit
from gdn_ops.tuner.page.roofline import figure as roofline_figure
from gdn_ops.tuner.page.searches import Stored
from gdn_ops.tuner.page.sections import Environments, Plot, failure_rows, sections
from gdn_ops.tuner.report.printable import printable

LISTED = 50
"""Most rows that could not be used that are listed one by one."""


def html(stored: Stored, *, made: datetime) -> str:
    """The page of what is stored.

    Every stored text is escaped, and the page may run no script but its own: a policy in it names
    their hashes.

    Raises:
        InvalidInput: Plotly is not installed.
    """
    drawn: list[Mapping[str, Any]] = []

    def place(figure: Mapping[str, Any]) -> int:
        drawn.append(figure)
        return len(drawn) - 1

    read_proofs([winner for winner in stored.winners if winner.provenance == "measured"])
    environments = Environments()
    parts = sections(stored, place, environments)
    winners = [_winner_row(winner) for winner in stored.winners]
    rooflines, unplaced = all_reached(stored.winners)
    failed = any(search.failed for search in stored.searches)
    speed_ups = [w for w in stored.winners if w.speedup is not None]
    plot = place(_speed_ups(speed_ups)) if speed_ups else None
    context = {
        "version": __version__,
        "made": made.strftime("%Y-%m-%d %H:%M UTC"),
        "databases": [path.name for path in stored.databases],
        "tiles": _tiles(stored, speed_ups),
        "winners": winners,
        "speed_ups": None
        if plot is None
        else Plot(
            number=plot,
            title="Winners against the reference",
            rows=len(speed_ups),
            caption="Pale: doubtful, see the table." if any(w.doubtful for w in speed_ups) else "",
        ),
        "rooflines": [
            {
                "target": target,
                "known": any(p.bandwidth for p in points),
                "plot": Plot(number=place(roofline_figure(points)), title=f"Roofline of {target}"),
                "unit": flops_unit(points)[0],
                "rows": [_reached_row(point, flops_unit(points)[1]) for point in points],
            }
            for target, points in rooflines.items()
        ],
        "sections": parts,
        "failures": failure_rows(stored.searches),
        "failure_plot": None
        if not failed
        else _failure_plot(place, figures.failures(stored.searches)),
        "environments": [asdict(environment) for environment in environments.known],
        "left_out": [*stored.left_out, *unplaced][:LISTED],
        "left_out_more": max(0, len(stored.left_out) + len(unplaced) - LISTED),
    }
    scripts = (_plotly(), _resource("page.js"))
    return _template().render(
        **context,
        style=_resource("page.css"),
        scripts=scripts,
        policy=_policy(scripts),
        figures=_safe_json(drawn),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    return environment.from_string(_resource("page.html.jinja"))


def _safe_json(value: object) -> str:
    """JSON that cannot end the element of the page that it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts: Sequence[str]) -> str:
    """A content security policy: no network, and no script but these."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    )


@cache
def _plotly() -> str:
    """Plotly's script, as the Python package has it."""
    if find_spec("plotly") is None:
        raise InvalidInput(
            "gdn report draws with Plotly, which is not installed; `pip install 'gdn-ops[tune]'`."
        )
    script = files("plotly") / "package_data" / "plotly.min.js"
    return script.read_text(encoding="utf-8").replace("</script", "<\\/script")


@cache
def _resource(name: str) -> str:
    return (files("gdn_ops.tuner.page") / name).read_text(encoding="utf-8")


def _tiles(stored: Stored, speed_ups: Sequence[Winner]) -> list[tuple[str, str]]:
    """The figures at the top: each with what it counts."""
    trials = sum(len(search.attempts) for search in stored.searches)
    failed = sum(search.failed for search in stored.searches)
    tiles = [
        (str(len({(s.problem_id, s.target) for s in stored.searches})), "problems searched"),
        (f"{trials:,}", "trials"),
        (f"{failed / trials:.0%}" if trials else "-", "of them failed"),
        (str(len(stored.winners)), "winners"),
    ]
    if speed_ups:
        mean = exp(sum(log(w.speedup or 1.0) for w in speed_ups) / len(speed_ups))
        tiles.append((f"{mean:.2f}×", "mean speed-up (geometric)"))
    return tiles


def _speed_ups(winners: Sequence[Winner]) -> Mapping[str, Any]:
    several = len({w.target for w in winners}) > 1
    names = [f"{w.problem_id} on {w.target}" if several else w.problem_id for w in winners]
    return figures.speed_ups(
        names, [w.speedup or 0.0 for w in winners], [bool(w.doubtful) for w in winners]
    )


def _winner_row(winner: Winner) -> dict[str, str]:
    measured = winner.provenance == "measured"
    variant = winner.variant if isinstance(winner.variant, Mapping) else {}
    return {
        "problem": winner.problem_id,
        "target": winner.target,
        "variant": winner.named,
        "config": json.dumps(variant, default=str),
        "median": seconds_text(winner.median),
        "interval": f"{seconds_text(winner.low)} .. {seconds_text(winner.high)}"
        if measured
        else "-",
        "reference": seconds_text(winner.reference),
        "speedup": "-" if winner.speedup is None else f"{winner.speedup:.2f}×",
        "provenance": winner.provenance
        + (", stale" if winner.stale else "")
        + (", doubtful" if winner.doubtful else ""),
        "why": "; ".join(filter(None, (winner.stale, winner.doubtful))),
    }


def _reached_row(point: Reached, flops_size: float) -> dict[str, str]:
    return {
        "problem": point.problem_id,
        "time": seconds_text(point.seconds),
        "bytes": digits(point.moved / point.seconds / 1e9),
        "flops": digits(point.flops / point.seconds / flops_size),
        "intensity": digits(point.flops / point.moved) if point.moved else "-",
        "share": "-" if point.share is None else _percent(point.share),
    }


def _percent(share: float) -> str:
    """A share in percent; a small one with its first digits, not as 0 %."""
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def _failure_plot(place: Any, figure: Mapping[str, Any]) -> Plot:
    rows = figure["layout"].pop("rows")
    return Plot(number=place(figure), title="Failed trials by cause", rows=rows)


def write_path(path: Path) -> None:
    """Raise InvalidInput if a page must not be written to a path."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        is_a = "is a folder" if path.is_dir() else f"is in {path.parent}, which is not a folder"
        raise InvalidInput(f"-o {path} {is_a}; name a file in a folder that exists.")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(6) == b"SQLite":
                raise InvalidInput(f"-o {path} is a database; give the page a name of its own.")
