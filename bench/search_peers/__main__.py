"""Compare the search strategies of this project, Optuna and Kernel Tuner on recorded spaces.

    python -m bench.search_peers FILES --seeds 10 -o search-peers.json

Rows of a strategy and a space are added to the JSON file or replace those in it, and the table next
to it is made of all rows. So `--only 'gdn-ops model'` renews one strategy. Kernel Tuner, SciPy and
cmaes are looked for in this environment and in the folder --packages:

    pip install --target FOLDER kernel_tuner==1.5.0 cmaes scikit-optimize cloudpickle cffi
"""

from __future__ import annotations

import argparse
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from bench.search_peers import kernel_tuner, ours
from bench.search_peers.contender import CannotRun, Contender
from bench.search_peers.report import markdown
from bench.search_peers.stored import Row, Stored
from gdn_ops.tuner.replay.files import recorded_space
from gdn_ops.tuner.replay.recorded_space import RecordedSpace
from gdn_ops.tuner.replay.replay import reached
from gdn_ops.tuner.whole_file import write_whole


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.search_peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="*", help="recorded spaces; none: only the table")
    parser.add_argument("--seeds", type=int, default=10, help="searches per strategy and space")
    parser.add_argument("--only", default="*", help="strategies, e.g. 'Kernel Tuner *'")
    parser.add_argument("--missing", action="store_true", help="only rows that are not stored")
    parser.add_argument("--packages", type=Path, help="folder that is searched for packages last")
    parser.add_argument("-o", "--out", type=Path, required=True, help="JSON file; table next to it")
    given = parser.parse_args()
    if given.packages is not None:
        sys.path.append(str(given.packages.absolute()))  # this environment's packages come first
    everyone = [*ours.contenders(), *kernel_tuner.contenders()]
    contenders = [c for c in everyone if fnmatch(c.name.lower(), given.only.lower())]
    if not contenders or given.seeds < 1:
        parser.error(
            f"--seeds must be >= 1, and --only one of: {', '.join(c.name for c in everyone)}"
        )
    stored = Stored(given.out)
    for path in given.files:
        space = recorded_space(path)
        for contender in contenders:
            if not (given.missing and stored.has(contender.name, space.name, given.seeds)):
                row = compared(contender, space, given.seeds)
                stored.add(row)
                print(
                    f"{space.name}, {row.strategy}: {row.seconds:.2f} s {row.why_not}", flush=True
                )
    write_whole(given.out.with_suffix(".md"), markdown(stored.rows))


def compared(contender: Contender, space: RecordedSpace, seeds: int) -> Row:
    """What a contender reaches in a space, or why it cannot run."""
    name, project = contender.name, contender.project
    found, begin = [], time.process_time()
    try:
        for seed in range(seeds):
            found.append(reached(contender.search(space, seed), space.optimum))
    except CannotRun as error:
        why = " ".join(str(error).split())[:300]
        return Row(name, project, space.name, space.kernel, why_not=why)
    seconds = round((time.process_time() - begin) / seeds, 3)
    rounded = [[round(x, 5) for x in one] for one in found]
    return Row(name, project, space.name, space.kernel, rounded, seconds)


if __name__ == "__main__":
    main()
