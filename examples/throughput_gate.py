"""Make two kernels slower in a copy of the code, and let `gdn check` find both.

    python examples/throughput_gate.py --out caught
    python examples/throughput_gate.py --out caught --only static    # half a minute

Each change is one line of a template, as a pull request might have it:

- static: a kernel of decode keeps a tile of the state that is four times as wide. Its registers no
  longer hold it, and it spills. This shows in the code that is compiled for an H200.
- measured: the prefill of plan torch computes two matrices twice. Its results are right, but late.
  This shows in the times of both versions on the CPU, in pairs of fresh processes; it takes one to
  four minutes.

Writes to --out, for each of them: NAME.log with the change, the command and what it printed, and
the reports NAME.xml (JUnit) and NAME.md. Fails if a change is not found.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("codegen", "gdn_ops", "templates", "tuner", "baselines", "results.db")
WORKLOAD = "prompts.json"
FACTS = {"H": 2, "HV": 4, "K": 64, "V": 64, "dtype": "fp32", "final_state": True}
COMMAND = (sys.executable, "-m", "gdn_ops.tuner.cli")
"""What ``gdn`` runs; in a folder with a package gdn_ops it runs that one."""


@dataclass(frozen=True)
class Change:
    """A line of a template that makes a kernel slower, and the command that finds it.

    Args:
        old, new: the text that is replaced; it occurs once.
    """

    name: str
    file: str
    old: str
    new: str
    arguments: tuple[str, ...]


CHANGES = (
    Change(
        "static",
        "templates/triton/recurrent.py.jinja",
        'constant("BV", BV,',
        'constant("BV", 4 * BV,',
        ("--static", "--target", "sm_90"),
    ),
    Change(
        "measured",
        "templates/macros/torch_buffers.jinja",
        "        #% if DELTA\n        prepare(",
        "        #% if DELTA\n        prepare(kq_c, "
        '{{ "coarse[c], fine[c], " if GATED }}beta[c], scale, A, P)\n        prepare(',
        (WORKLOAD, "--device", "cpu", "--threads", "1"),
    ),
)


class Copy:
    """A copy of the code in a git repository of its own, with everything committed."""

    def __init__(self, folder: Path, tokens: Iterable[int]) -> None:
        self.folder = folder
        folder.mkdir()
        for part in PARTS:
            if (ROOT / part).is_dir():
                unneeded = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=unneeded)
            else:
                shutil.copy(ROOT / part, folder / part)
        problems = [{**FACTS, "tokens": count} for count in tokens]
        (folder / WORKLOAD).write_text(json.dumps({"problems": problems}))
        (folder / ".gitignore").write_text("__pycache__/\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "The code before the change")

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=example", "-c", "user.email=example@example.org")
        command = ["git", *identity, "-c", "commit.gpgsign=false", *words]
        done = subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True)
        return done.stdout

    def make(self, change: Change) -> None:
        """Make a change, without committing it."""
        path = self.folder / change.file
        text = path.read_text()
        if text.count(change.old) != 1:
            raise SystemExit(f"{change.file} does not have {change.old!r} once; change the example")
        path.write_text(text.replace(change.old, change.new))

    def check(self, change: Change, options: list[str]) -> tuple[int, str]:
        """Run ``gdn check``; return its exit code, and the command with all that it printed."""
        reports = (f"junit={change.name}.xml", f"markdown={change.name}.md")
        words = [
            "check",
            *change.arguments,
            *options,
            *(x for r in reports for x in ("--report", r)),
        ]
        env = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "PYTHONIOENCODING": "utf-8",
            # the winners of whoever runs this must not decide which kernels are timed
            "GDN_RESULTS_DB": str(self.folder / "none.db"),
        }
        with subprocess.Popen(
            [*COMMAND, *words], cwd=self.folder, env=env, text=True, encoding="utf-8",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            lines = [f"$ gdn {' '.join(words)}\n"]
            print(lines[0], end="", flush=True)
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(f"{line.rstrip()}\n")
        return process.returncode, "".join(lines)


def caught(copy: Copy, change: Change, options: list[str], out: Path) -> bool:
    """Make a change, check it, write what comes of it, and undo it.

    Returns:
        Whether the check failed because of a regression.
    """
    copy.make(change)
    difference = copy.git("diff", "--unified=1")
    print(f"{change.name}: {change.file}\n")
    code, printed = copy.check(change, options)
    text = f"$ git diff --unified=1\n{difference}\n{printed}$ echo $?\n{code}\n"
    (out / f"{change.name}.log").write_text(text, encoding="utf-8")
    for report in (f"{change.name}.xml", f"{change.name}.md"):
        if (copy.folder / report).exists():
            shutil.move(copy.folder / report, out / report)
    copy.git("checkout", "--quiet", "--", ".")
    found = code == 1 and _regressed(out / f"{change.name}.xml")
    print(f"\n{change.name}: {'caught' if found else 'NOT caught'}\n")
    return found


def _regressed(junit: Path) -> bool:
    """Whether a report has a regression, and not only a crash."""
    failures = ElementTree.parse(junit).iter("failure")
    return any(failure.get("type") == "regression" for failure in failures)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [change.name for change in CHANGES]
    parser.add_argument("--out", type=Path, required=True, help="folder for logs and reports")
    parser.add_argument("--only", choices=names, help="one of the two (default: both)")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[512, 1024],
        help="measured: lengths of the prompts, a row each (default: 512 1024)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=0.2,
        help="measured: samples per process and prompt, in seconds (default: 0.2)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> int:
    args = parse()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    timing = ["--seconds", f"{args.seconds:g}"]
    with TemporaryDirectory(prefix="throughput-gate-") as scratch:
        copy = Copy(Path(scratch) / "copy", args.tokens)
        found = [
            caught(copy, change, timing if change.name == "measured" else [], out)
            for change in CHANGES
            if args.only in (None, change.name)
        ]
    print(f"wrote logs and reports to {args.out}")
    return 0 if all(found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
