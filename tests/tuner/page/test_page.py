"""``gdn report``: what the page has, that stored text is only text, and how a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gdn_ops.codegen.variant import Variant
from gdn_ops.dispatch.winners import read_winners
from gdn_ops.results_path import shipped_database
from gdn_ops.tuner.cli import run
from gdn_ops.tuner.page.figures import heat_map
from gdn_ops.tuner.page.importance import importance
from gdn_ops.tuner.page.label import digits
from gdn_ops.tuner.page.progress import best_so_far, progress
from gdn_ops.tuner.page.roofline import reached
from gdn_ops.tuner.page.searches import Search, stored
from tests.json_documents import documented
from tests.problems import FORWARD
from tests.results import HANG, OK, Bench, stage_key

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
HOSTILE = "</script><img src=x onerror=alert(1)>@1 {{ 7 * 7 }} %{x} <b>\"'&amp;\x1b\u202e"
SHOWN = "</script><img src=x onerror=alert(1)>@1 {{ 7 * 7 }} %{x} <b>\"'&amp;"
"""The same without the characters that are not seen."""
TEXTS = {
    "environments": ("device", "arch", "driver", "torch", "triton", "ptxas", "python", "platform"),
    "runs": ("workload", "target"),
    "trials": ("target", "arch", "plan", "stage", "variant_id", "message", "method"),
    "winner_rows": ("target", "arch", "variant_id"),
}
"""Columns that may have any text; the others are numbers, keys, moments and words of a list."""


def database(path: Path) -> Path:
    """Trials of one stage whose time follows BV, and num_warps a little; some configs hang."""
    bench = Bench(path)
    for BV in (16, 32, 64, 128):
        for warps in (2, 4, 8):
            key = stage_key(BV=BV, num_warps=warps)
            seconds = 1e-3 * (BV / 16) * (1 + warps / 100)
            ok = replace(OK, median=seconds, low=seconds * 0.9, high=seconds * 1.1)
            bench.record(key, HANG if (BV, warps) == (128, 8) else ok)
    winner = bench.winner(variant=Variant.default("torch", FORWARD))
    bench.store.set_winner(replace(winner, high=5e-3))
    bench.win(replace(FORWARD, dtype="bf16"), predicted=True)
    return bench.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return database(tmp_path_factory.mktemp("page") / "r.db")


class Page(HTMLParser):
    """The texts and elements of a page, as a browser finds them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[dict[str, Any]] = []
        self._script = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id") == "figures"

    def handle_data(self, data: str) -> None:
        if self._script:
            self.figures, self._script = json.loads(data), False
        elif data.strip():
            self.texts.append(data.strip())


def page(database: Path, out: Path, *options: str) -> Page:
    assert run(["report", "--db", str(database), "-o", str(out), *options]) == 0
    return Page(out.read_text(encoding="utf-8"))


def search_of(path: Path) -> Search:
    return next(s for s in stored([path]).searches if s.stage == "chunk_o")


def test_a_search_has_its_best_times_its_important_parameters_and_a_heat_map(path: Path) -> None:
    search = search_of(path)
    assert (len(search.attempts), search.failed) == (12, 1)
    assert [number for number, _ in best_so_far(search.attempts)] == [1]
    found = importance(search.attempts)
    assert found is not None and list(found.shares) == ["BV", "num_warps"]
    assert found.shares["BV"] > 0.9 and found.rest < 0.05 and found.configs == 11
    assert sum(found.shares.values()) + found.rest == pytest.approx(1.0)
    times, failed = heat_map(search.attempts, "BV", "num_warps")["data"]
    assert times["x"] == ["16", "32", "64", "128"] and times["y"] == ["2", "4", "8"]
    assert [row[0] for row in times["text"]] == ["1.02", "1.04", "1.08"]
    assert (digits(1024.4), digits(0.1234)) == ("1,024", "0.123"), "a slow one has no exponent"
    band = progress([search])["data"][1]
    assert band["name"] == "95 % interval" and band["x"] == [1, 12, 12.5], "the last one has width"
    assert times["z"][2][3] is None and failed["text"][2][3] == "failed"
    assert importance(search.attempts[:7]) is None, "too few configs"


def test_the_roofline_counts_bytes_and_products(path: Path) -> None:
    winner = next(w for w in read_winners(path).winners if w.provenance == "measured")
    point = reached(winner)
    # q, k, v, o, g, beta in fp32 and the final states
    sizes = 128 * (2 * 2 * 64 + 2 * 4 * 64 + 2 * 4) * 4 + 2 * 4 * 64 * 64 * 4
    products = 128 * (2 * 2 * 64 * 64 + 4 * (6 * 64 * 64 + 2 * 64 * 64))
    assert (point.moved, point.flops) == (sizes, products)
    assert point.share == pytest.approx(max(sizes / 4800e9, products / 494e12) / 2e-3)


def test_the_page_needs_no_network_and_has_everything(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.html"
    shown = page(path, out, "--json")
    report = documented(capsys.readouterr().out)
    assert report["bytes"] == out.stat().st_size < 6_000_000 and report["trials"] == 13
    assert not [a for _, a in shown.tags if "src" in a or str(a.get("href", "#"))[0] != "#"]
    assert {"Winners", "Roofline", "Searches", "Failures", "Environments"} <= set(shown.texts)
    assert "3.00×" in shown.texts and "590.1" in shown.texts and "killed after 60 s" in shown.texts
    assert "measured, stale, doubtful" in shown.texts, "of other sources, and of a wide interval"
    colours = [f["data"][0].get("marker", {}).get("color") for f in shown.figures]
    assert ["@1/0.45"] in colours, "its bar is pale"
    anchors = {a.get("id") for _, a in shown.tags}
    assert {str(a["href"])[1:] for tag, a in shown.tags if tag == "a"} <= anchors
    titles = [f["layout"][axis].get("title") for f in shown.figures for axis in ("xaxis",)]
    assert all(titles), "each axis with numbers says what they are"
    canvases = [a["data-figure"] for _, a in shown.tags if "data-figure" in a]
    assert sorted(map(int, filter(None, canvases))) == list(range(len(shown.figures)))


def test_hostile_text_in_every_column_is_only_text(tmp_path: Path) -> None:
    path = database(tmp_path / "r.db")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for table, columns in TEXTS.items():
            for column in columns:
                where = " WHERE scope = 'stage'" if column == "stage" else ""
                connection.execute(f"UPDATE {table} SET {column} = ?{where}", (HOSTILE,))
        facts = json.dumps(FORWARD.bucket().facts())
        connection.execute("INSERT INTO problems VALUES (?, ?)", (HOSTILE, facts))
        connection.execute("UPDATE trials SET problem_id = ?", (HOSTILE,))
        connection.execute("DELETE FROM winner_rows WHERE provenance = 'predicted'")
        connection.execute("UPDATE winner_rows SET problem_id = ?", (HOSTILE,))
        config = json.dumps({HOSTILE: HOSTILE, "BV": 16})
        connection.execute("UPDATE trials SET config = ? WHERE scope = 'stage'", (config,))
    shown = page(path, tmp_path / "h.html")
    assert not [tag for tag, _ in shown.tags if tag in ("img", "b\"'&amp;")]
    assert not [a for _, a in shown.tags if "onerror" in a]
    assert sum(SHOWN in text for text in shown.texts) > 8
    drawn = json.dumps(shown.figures)
    assert "&lt;/script&gt;&lt;img" in drawn, "it is in figures too"
    assert not re.search(r"<(?!br>|/?extra>)", drawn) and '"@1 ' not in drawn
    assert "\x1b" not in drawn and "\u202e" not in (tmp_path / "h.html").read_text()


def test_a_page_of_nothing_says_what_to_type(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "r.db")
    shown = page(bench.close(), tmp_path / "r.html")
    assert any("Nothing is stored" in text for text in shown.texts) and not shown.figures


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-o", "no/such/folder/r.html"], "is in no/such/folder, which is not a folder"),
        (["-o", str(shipped_database())], "is a database; give the page a name of its own"),
        (["--problem", "forwards"], "unknown problem 'forwards'"),
        (["tiny", "--problem", "x"], "leave out one of both"),
        (["--optuna", str(shipped_database())], "exists; delete it or name another file"),
    ],
)
def test_what_cannot_be_written_or_found_is_refused(
    options: list[str], says: str, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--db", str(path), "-o", str(tmp_path / "r.html"), *options]
    assert run(["report", *given]) == 2
    assert says in capsys.readouterr().err and not (tmp_path / "r.html").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_a_browser_draws_every_plot_without_a_message(path: Path, tmp_path: Path) -> None:
    shown = page(path, tmp_path / "r.html")
    assert len(shown.figures) >= 5
    command = [
        str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom",
        f"{(tmp_path / 'r.html').as_uri()}#all",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.count('class="canvas js-plotly-plot"') == len(shown.figures)
    assert done.stdout.count('class="main-svg"') >= len(shown.figures)
    assert "CONSOLE" not in done.stderr, done.stderr
