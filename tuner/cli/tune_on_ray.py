"""``gdn tune --ray``: tuning on a cluster, and the table of its nodes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gdn_ops.tuner.cli.answer import Answer
from gdn_ops.tuner.cli.exit_codes import INTERRUPTED
from gdn_ops.tuner.cli.tuning_result import print_results, results_json
from gdn_ops.tuner.cluster.lines import Lines
from gdn_ops.tuner.cluster.member import Member
from gdn_ops.tuner.cluster.session import tune_on_cluster
from gdn_ops.tuner.report import console
from gdn_ops.tuner.session import Request


def tune_on_ray(request: Request, address: str, target: str | None) -> Answer:
    """Tune on a Ray cluster, and print the results and the nodes."""
    tuned = tune_on_cluster(
        request, address=address, target=target, lines=Lines(console.progress_stream())
    )
    _print_nodes(tuned.members)
    print_results(tuned.results, request.database)
    for problem_id in tuned.stranded:
        console.fail(f"{problem_id}: its nodes were lost; the same command continues from here.")
    failed = any(result.failures for result in tuned.results.values())
    won = any(result.winners for result in tuned.results.values())
    code = 1 if tuned.stranded or (failed and not won) else 0
    results = results_json(list(tuned.results.values()), request.database)
    return Answer(INTERRUPTED if tuned.interrupted else code, results)


def _print_nodes(members: Sequence[Member]) -> None:
    now = time.monotonic()
    rows = [
        (
            member.label,
            member.role + ("" if member.work.ended is None else ", lost"),
            str(member.work.jobs),
            str(member.work.lost),
            f"{member.work.idle_share(now):.0%}",
        )
        for member in members
    ]
    console.table(("node", "what it does", "trials>", "lost>", "idle>"), rows)
