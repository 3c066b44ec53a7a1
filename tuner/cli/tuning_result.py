"""The result of a tuning run as tables: winners, what few variants serve, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gdn_ops.codegen.variant import Variant
from gdn_ops.results_url import Location, ResultsUrl
from gdn_ops.seconds import seconds_text
from gdn_ops.tuner.campaign import Result
from gdn_ops.tuner.cli.json_fields import of_compared, of_stored_winner
from gdn_ops.tuner.report import console
from gdn_ops.tuner.report.counted import counted
from gdn_ops.tuner.search.providers import outcome_text
from gdn_ops.tuner.store.records import StoredWinner
from gdn_ops.tuner.workers.kernel_check import Checked


def print_results(results: Mapping[str, Result], database: Location) -> None:
    """Print the winners as a table, the failures and what to do next.

    Args:
        results: by target; its name is shown if there are several.
    """
    several = len(results) > 1
    rows = [
        (*([target] if several else []), *row)
        for target, result in results.items()
        for row in _winner_rows(result)
    ]
    if rows:
        columns = ("problem", "winner", "median>", "95 % interval>", "reference>", "speed-up>")
        console.table((*(["target"] if several else []), *columns), rows)
    for target, result in results.items():
        _print_compared(result, f" on {target}" if several else "")
        _print_cover(result)
        for problem_id, why in result.failures.items():
            console.fail(f"{problem_id}{f' on {target}' if several else ''}: {why}")
    problems = any(result.problems for result in results.values())
    if problems:
        console.say(f"Stored in {database}")
    if any(result.interrupted for result in results.values()):
        console.say("Interrupted; the same command continues from here.")
    elif not problems:
        console.say("No winner of this device is stale; nothing was measured.")
    elif rows and isinstance(database, ResultsUrl):
        console.say(f"Next: `gdn pull {database}` on each machine brings the winners there.")
    elif rows:
        console.say(
            "Next: `gdn show` lists the winners, `gdn explain` says which one a problem runs on."
        )


def results_json(
    results: Sequence[Result], database: Location, kernels: Sequence[Checked] = ()
) -> dict[str, Any]:
    """The results, one per target, as ``docs/json.md`` describes them."""
    return {
        "database": database,
        "interrupted": any(result.interrupted for result in results),
        "winners": [
            of_stored_winner(winner, _variant_of(result, winner))
            for result in results
            for winner in result.winners.values()
        ],
        "failures": [
            {"problem_id": name, "reason": why}
            for result in results
            for name, why in result.failures.items()
        ],
        "covered": [
            {
                "problem_id": c.problem_id,
                "variant_text": c.variant,
                "median_seconds": c.seconds,
                "fastest_seconds": c.best,
            }
            for result in results
            for c in result.covered
        ],
        "providers": [of_compared(row) for result in results for row in result.compared],
        "kernels": [asdict(checked) for checked in kernels],
    }


def _winner_rows(result: Result) -> Iterator[tuple[str, ...]]:
    for problem_id, winner in result.winners.items():
        yield (
            problem_id,
            str(_variant_of(result, winner)),
            seconds_text(winner.median),
            f"{seconds_text(winner.low)} .. {seconds_text(winner.high)}",
            seconds_text(winner.reference),
            "-" if winner.speedup is None else f"{winner.speedup:.2f}x",
        )


def _variant_of(result: Result, winner: StoredWinner) -> Variant:
    return Variant.from_json(winner.variant, result.problems[winner.problem_id])


def _print_compared(result: Result, where: str) -> None:
    """Print what each provider that was asked for did on each problem."""
    if not result.compared:
        return
    rows = [
        (
            row.problem_id,
            row.release,
            "-" if row.median is None else seconds_text(row.median),
            "-" if row.low is None else f"{seconds_text(row.low)} .. {seconds_text(row.high)}",
            "-" if row.speed is None else f"{row.speed:.2f}x",
            outcome_text(row),
        )
        for row in result.compared
    ]
    columns = (
        "problem", "provider", "median>", "95 % interval>", "of the winner's speed>", "result",
    )  # fmt: skip
    console.table(columns, rows, title=f"Providers{where}")
    if any(row.faster for row in result.compared):
        console.say("With --allow-providers a provider that is faster becomes the winner.")


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
