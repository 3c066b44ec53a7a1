"""The result of a tuning run as tables: winners, what few variants serve, and what failed."""

from __future__ import annotations

from gdn_ops.codegen.variant import Variant
from gdn_ops.results_url import Location, ResultsUrl
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.campaign import Result
from gdn_ops.tuner.report import console
from gdn_ops.tuner.report.counted import counted


def print_result(result: Result, database: Location) -> None:
    """Print the winners as a table, the failures and what to do next."""

    rows = []
    for problem_id, winner in result.winners.items():
        variant = Variant.from_json(winner.variant, result.problems[problem_id])
        rows.append(
            (
                problem_id,
                str(variant),
                seconds_text(winner.median),
                f"{seconds_text(winner.low)} .. {seconds_text(winner.high)}",
                seconds_text(winner.reference),
                "-" if winner.speedup is None else f"{winner.speedup:.2f}x",
            )
        )
    if rows:
        columns = ("problem", "winner", "median>", "95 % interval>", "reference>", "speed-up>")
        console.table(columns, rows)
    _print_cover(result)
    for problem_id, why in result.failures.items():
        console.fail(f"{problem_id}: {why}")
    if result.problems:
        console.say(f"Stored in {database}")
    if result.interrupted:
        console.say("Interrupted; the same command continues from here.")
    elif not result.problems:
        console.say("No winner of this device is stale; nothing was measured.")
    elif rows and isinstance(database, ResultsUrl):
        console.say(f"Next: `gdn pull {database}` on each machine brings the winners there.")
    elif rows:
        console.say(
            "Next: `gdn show` lists the winners, `gdn explain` says which one a problem runs on."
        )


def _print_cover(result: Result) -> None:
    """Print which of few variants serves which problem."""

    if not result.covered:
        return
    letters = {
        text: f"v{i}" for i, text in enumerate(dict.fromkeys(c.variant for c in result.covered), 1)
    }
    console.table(
        ("variant", "what it is", "problems>"),
        [
            (n, text, str(sum(c.variant == text for c in result.covered)))
            for text, n in letters.items()
        ],
    )
    console.table(
        ("problem", "variant", "median>", "fastest>", "of its speed>"),
        [
            (c.problem_id, letters[c.variant], seconds_text(c.seconds), seconds_text(c.best),
             f"{c.best / c.seconds:.0%}")
            for c in result.covered
        ],
    )  # fmt: skip
    worst = min(c.best / c.seconds for c in result.covered)
    console.say(
        f"{counted(len(letters), 'variant')} for {counted(len(result.covered), 'problem')}; the "
        f"slowest reaches {worst:.0%} of the fastest one's speed."
    )
