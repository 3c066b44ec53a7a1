"""The options of ``gdn tune``, as Typer reads them."""

from __future__ import annotations

from typing import Annotated

import typer

from gdn_ops.codegen.providers import PROVIDERS
from gdn_ops.tuner.cli.locations import DEFAULT, METAVAR, SERVER
from gdn_ops.tuner.spaces.workloads import WORKLOADS
from gdn_ops.tuner.strategies import AUTO, CHOICE, STRATEGIES, SYNTAX

DEFAULT_WORKLOAD = "quickstart"

WorkloadName = Annotated[
    str | None,
    typer.Argument(
        help=f"{', '.join(WORKLOADS)}, or a JSON or TOML file with a list `problems`; by default "
        f"{DEFAULT_WORKLOAD}."
    ),
]
Db = Annotated[
    str | None,
    typer.Option(metavar=METAVAR, help=f"Results database. Default: {DEFAULT}. {SERVER}"),
]
Minutes = Annotated[
    float | None,
    typer.Option(help="Minutes for all problems together; 0: no limit. Default: the workload's."),
]
Trials = Annotated[int | None, typer.Option(help="Configs to try for each stage of each plan.")]
Again = Annotated[bool, typer.Option("--again", help="Also tune problems that are finished.")]
Stale = Annotated[
    bool,
    typer.Option(
        "--stale",
        help="Only problems whose winner is stale: time its top three variants again, and search "
        "only where another one is faster now.",
    ),
]
Cover = Annotated[
    float | None,
    typer.Option(
        help="Keep few variants: the smallest set of which one reaches this share of the fastest "
        "one's speed at every size of a problem, e.g. 0.95."
    ),
]
ProviderNames = Annotated[
    str | None,
    typer.Option(
        "--providers",
        metavar="NAMES",
        help="Also check and time these installed libraries, e.g. fla,flashinfer. Known: "
        f"{', '.join(PROVIDERS)}.",
    ),
]
AllowProviders = Annotated[
    bool,
    typer.Option(
        "--allow-providers",
        help="With --providers: one that is fastest becomes the winner, and calls run on it. "
        "Default: it is only reported.",
    ),
]
Plans = Annotated[str, typer.Option(help="Only these plans, e.g. split,recurrent.")]
StrategyName = Annotated[
    str,
    typer.Option(
        metavar=SYNTAX,
        help=f"Search strategy: {', '.join((AUTO, *STRATEGIES))}; some have settings, e.g. "
        "tpe:startup=20. auto enumerates small spaces and searches large ones with model. "
        f"{CHOICE}.",
    ),
]
