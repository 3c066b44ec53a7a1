"""Fit the cost model's constants to what other libraries published, and judge the fit.

    python -m bench.cost_fit            # judge the constants in use
    python -m bench.cost_fit --fit      # fit them anew, also without each kind of kernel (minutes)

Only other libraries' kernels are used: their machine code and their published times on an H200.
Some head geometries are held out of the fit. Nothing here depends on our own kernels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.cost_fit.fit import FAMILIES, GRID, Constants, Error, Row, error, fitted, rows_of
from bench.cost_fit.peer_kernels import read
from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.report import console

OUT = Path(__file__).parents[1] / "results" / "cost-fit.md"
COLUMNS = ("kernels", "rows", "predicted / published", "spread", "error")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.cost_fit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fit", action="store_true", help="fit anew")
    parser.add_argument("--out", type=Path, default=OUT, help="Markdown file of the tables")
    given = parser.parse_args()
    peers = read()
    rows = rows_of(peers, target_named("h200"))
    seen = [row for row in rows if not row.held]
    constants, others = Constants(), []
    if given.fit:
        constants = fitted(seen)
        for family in FAMILIES:
            without = fitted([row for row in seen if row.family != family])
            others.append((family, error([r for r in rows if r.family == family], without)))
    named = ", ".join(f"{name} {constants.get(name):g}" for name in GRID)
    console.say(named)
    parts = [*_table("in the fit", seen, constants)]
    parts += _table("held out", [row for row in rows if row.held], constants)
    parts += [_line(f"{family}, fitted without them", found) for family, found in others]
    console.table((COLUMNS[0], *(f"{name}>" for name in COLUMNS[1:])), parts)
    if given.fit:
        versions = ", ".join(f"{name} {version}" for name, version in peers.versions.items())
        lines = [COLUMNS, ("---",) * len(COLUMNS), *parts]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        given.out.write_text(
            f"Made by `python -m bench.cost_fit --fit`. Machine code: {versions}.\n\n"
            f"Fitted: {named}.\n\n{table}\n"
        )


def _table(name: str, rows: list[Row], constants: Constants) -> list[tuple[str, ...]]:
    families = {family: [row for row in rows if row.family == family] for family in FAMILIES}
    return [
        _line(f"{family}, {name}", error(own, constants)) for family, own in families.items() if own
    ]


def _line(name: str, found: Error) -> tuple[str, ...]:
    return name, str(found.rows), f"{found.ratio:.2f}", f"{found.spread:.2f}", f"{found.error:.2f}"


if __name__ == "__main__":
    main()
