"""MkDocs hook: files that stand elsewhere in the repository become pages of the site.

The texts in docs/ link to them by their place in the repository (``../bench/results/x.md``), so
that the links work where the files are read as they are; the site has them inside.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
RESULTS = "bench/results"
PAGES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages, and everything in bench/results."""
    found = sorted(path for path in (ROOT / RESULTS).rglob("*") if path.is_file())
    results = [path.relative_to(ROOT).as_posix() for path in found]
    for place, name in [*PAGES.items(), *zip(results, results, strict=True)]:
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links that leave docs/ for bench/results stay on the site."""
    return markdown.replace(f"](../{RESULTS}/", f"]({RESULTS}/")
