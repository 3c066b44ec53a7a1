"""``gdn replay``: how near search strategies come to the optimum of recorded search spaces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.strategies import CHOICE, STRATEGIES, checked

if TYPE_CHECKING:
    from gdn_ops.tuner.replay.table import Entry

MAX_SEEDS = 10_000


def replay(
    files: Annotated[
        list[Path],
        typer.Argument(help="Kernel Tuner caches or T4 results, JSON, also compressed with gzip."),
    ],
    strategies: Annotated[
        str,
        typer.Option(
            help=f"Strategies to compare: some of {', '.join(STRATEGIES)}, with settings too, e.g. "
            f"tpe:startup=20. {CHOICE}."
        ),
    ] = "enumeration,tpe,model",
    seeds: Annotated[int, typer.Option(help="Searches per strategy and file.")] = 10,
    transfer: Annotated[
        bool,
        typer.Option(
            "--transfer",
            help="First try the best configs of the other files of the same kernel.",
        ),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw the means as an SVG file.")] = None,
) -> Answer:
    """Compare search strategies on recorded search spaces; no GPU is needed.

    A recorded space has every config of a kernel with the time it took, or that it failed. A
    strategy searches it as `gdn tune` would. The table has the optimum over the best time found
    after 25, 50, 100 and 200 evaluations of different configs (1 is the optimum): the mean over
    the seeds and, in brackets, its 95 % bootstrap interval.

    Examples:

        gdn replay convolution_A100.json.gz

        gdn replay *.json.gz --strategies tpe,model --seeds 30 --json > scores.json

        gdn replay *.json.gz --strategies tpe,tpe:startup=20:candidates=48
    """
    from gdn_ops.tuner.replay.files import recorded_space
    from gdn_ops.tuner.replay.plot import svg
    from gdn_ops.tuner.replay.replay import fractions, winners_elsewhere
    from gdn_ops.tuner.replay.table import COLUMNS, Entry, results, rows
    from gdn_ops.tuner.report import console
    from gdn_ops.tuner.whole_file import write_whole

    names = _strategies(strategies)
    if not 1 <= seeds <= MAX_SEEDS:
        raise InvalidInput(f"--seeds is {seeds}; it must be >= 1 and <= {MAX_SEEDS}.")
    if plot is not None and (plot.is_dir() or not plot.absolute().parent.is_dir()):
        raise InvalidInput(f"--plot {plot} is a folder or in none; name a file in a folder.")
    spaces = [recorded_space(path) for path in files]
    entries: list[Entry] = []
    for space in spaces:
        first = winners_elsewhere(space, spaces) if transfer else []
        for name in names:
            found = [fractions(name, space, seed=seed, first=first) for seed in range(seeds)]
            entries.append(Entry(space.name, name, tuple(map(tuple, found))))
    console.table(COLUMNS, rows(entries))
    if plot is not None:
        write_whole(plot, svg(entries))
    return Answer(0, results(entries, transfer=transfer))


def _strategies(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        checked(name)
    if not names:
        raise InvalidInput(f"--strategies names none; use some of {', '.join(STRATEGIES)}.")
    return names
