"""Write the report of a campaign from its folder, on any machine: ``python -m ... FOLDER``.

report.md has the aims and whether they were reached, statistics of the tuning, and the cost
model's predictions. With --spaces it also writes each search space in the T4 format of the
autotuning community, with which searches can be replayed without the machine.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from bench.campaign.aims import AIMS, reached
from bench.campaign.ceilings import ceiling_texts
from bench.campaign.comparisons import comparisons
from bench.campaign.spaces import write_spaces
from bench.campaign.tuning import tuned_problems
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.cost.stored_judgements import stored_judgements
from gdn_ops.tuner.report import console


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.campaign.report", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spaces", action="store_true", help="also write spaces/*.json.gz")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if not folder.is_dir():
        raise SystemExit(f"{folder} is not a folder; give the folder of a campaign.")
    parts = ["# Campaign", *_machine(folder), *_stages(folder), *_aims(folder)]
    database = folder / "results.db"
    if database.exists():
        parts += [*_tuning(database), *_model(database)]
    text = "\n\n".join(parts) + "\n"
    (folder / "report.md").write_text(text)
    print(text)
    if arguments.spaces and database.exists():
        count = write_spaces(database, folder / "spaces")
        console.say(f"wrote {count} spaces to {folder / 'spaces'}")


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _machine(folder: Path) -> list[str]:
    file = folder / "ceilings.json"
    if not file.exists():
        return []
    found: dict[str, Any] = json.loads(file.read_text())
    rates = ", ".join(f"{name} {rate}" for name, rate in ceiling_texts(found).items())
    return [f"{found['device']} ({found['target']}) reaches {rates}."]


def _stages(folder: Path) -> list[str]:
    file = folder / "stages.json"
    if not file.exists():
        return []
    rows = [
        (name, ended["status"], f"{ended['seconds']:.0f} s", ended["detail"])
        for name, several in json.loads(file.read_text()).items()
        for ended in several
    ]
    return ["## Stages", table(("stage", "ended", "after", ""), rows)]


def _aims(folder: Path) -> list[str]:
    ceilings = folder / "ceilings.json"
    known = json.loads(ceilings.read_text()) if ceilings.exists() else {}
    measured = dict(comparisons(folder))
    rows = []
    for aim in AIMS:
        value = reached(aim, measured, known)
        text = "not measured" if value is None else aim.text.format(value)
        verdict = "" if value is None else "reached" if aim.met(value) else "missed"
        rows.append((aim.what, aim.text.format(aim.bar), text, verdict))
    return ["## Aims", table(("what", "aim", "measured", ""), rows)]


def _tuning(database: Path) -> list[str]:
    rows = [
        (
            p.problem_id, str(p.trials), str(p.right), f"{p.seconds:.0f} s",
            "-" if p.found is None else f"{p.found[0]} trials, {p.found[1]:.0f} s",
            seconds_text(p.winner.median) + ("" if p.final else ", no finals"),
            "-" if p.winner.speedup is None else f"{p.winner.speedup:.1f}x",
        )
        for p in tuned_problems(database)
    ]  # fmt: skip
    heading = (
        "problem", "trials", "correct", "took", "within 3 % after", "winner", "of the reference",
    )  # fmt: skip
    return ["## Tuning", table(heading, rows)]


def _model(database: Path) -> list[str]:
    found = stored_judgements([database], warn=console.remark)
    rows = [
        (j.problem_id, str(j.variants), f"{j.correlation:.2f}", f"{j.regret:.2f}x",
         f"{j.ratio:.2f}")
        for j in found
    ]  # fmt: skip
    heading = ("problem", "variants", "rank correlation", "regret", "predicted / measured")
    return ["## The cost model", table(heading, rows)] if rows else []


if __name__ == "__main__":
    main()
