"""Compare the kernels that two revisions render: ``python -m bench.rendered BASE [HEAD]``.

It compares the code, the arguments, the grids, and which configs each target refuses; names of
stages, docstrings and comments may differ. HEAD is the working tree by default. It takes about a
minute of CPU time per revision and exits with status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve()
COLLECT = HERE.with_name("collect.py")
ROOT = HERE.parents[2]
PARTS = ("code", "arguments", "grids", "refusals")
SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("base", help="a git revision")
    parser.add_argument("head", nargs="?", help="a git revision; the working tree by default")
    options = parser.parse_args()
    base, head = collected(options.base), collected(options.head)
    both = base.keys() & head.keys()
    print(f"{len(base)} renders at the base, {len(head)} at the head, {len(both)} in both")
    same = base.keys() == head.keys()
    for key in [*sorted(base.keys() - head.keys()), *sorted(head.keys() - base.keys())][:SHOWN]:
        print(f"only at the {'base' if key in base else 'head'}: {key}")
    for i, part in enumerate(PARTS):
        differing = sorted(key for key in both if base[key][i] != head[key][i])
        same = same and not differing
        print(f"{part}: {len(differing)} differ")
        for key in differing[:SHOWN]:
            print(f"  {key}")
            if part != "code":
                print(f"    {base[key][i]}\n    {head[key][i]}")
    return 0 if same else 1


def collected(revision: str | None) -> dict[str, list[object]]:
    """Return what a revision renders; None is the working tree."""
    if revision is None:
        return _collect(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision], check=True)
        try:
            return _collect(tree)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _collect(tree: Path) -> dict[str, list[object]]:
    # Not ``-m``: an older revision has no such module, and its own gdn_ops must be imported.
    script = f"import sys; sys.path.insert(0, {str(tree)!r}); exec(open({str(COLLECT)!r}).read())"
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tree, check=True, capture_output=True, text=True
    )
    found: dict[str, list[object]] = json.loads(run.stdout)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
