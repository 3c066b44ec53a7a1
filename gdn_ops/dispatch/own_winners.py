"""Our own best variants of problems that a provider has won: they run where it is missing.

The tuner stores our own best variant as the winner just before a provider takes its place, so it is
the last of our own winners that was superseded.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from gdn_ops.codegen.plans import PLANS
from gdn_ops.dispatch.row_values import Row
from gdn_ops.dispatch.winner import Winner, winner_of
from gdn_ops.dispatch.winner_proofs import keep_proof
from gdn_ops.results_url import Location

SINCE = 4
"""The first schema version with all columns that the query names."""

_QUERY = """
SELECT w.problem_id, p.facts, w.target, w.arch, w.variant_id, w.variant,
    w.median, w.low, w.high, w.reference, w.provenance, w.trial_id,
    e.device, e.driver, e.torch, e.triton, e.ptxas, w.created,
    m.sources, m.resources AS trial_resources
FROM winner_rows AS c
JOIN winner_rows AS w ON w.problem_id = c.problem_id AND w.target = c.target
JOIN problems AS p ON p.id = w.problem_id
LEFT JOIN environments AS e ON e.id = w.environment_id
LEFT JOIN trials AS m ON m.id = w.trial_id
WHERE c.superseded IS NULL AND substr(c.variant_id, 1, length(c.variant_id) - 13) IN ({providers})
    AND w.superseded IS NOT NULL AND w.provenance = 'measured'
    AND NOT EXISTS (
        SELECT 1 FROM trials AS t
        WHERE t.target = w.target AND t.problem_id = w.problem_id AND t.variant_id = w.variant_id
            AND t.id > w.trial_id AND t.status NOT IN ('ok', 'fault')
    )
ORDER BY w.superseded, w.id
LIMIT {most}
"""


def own_winners_query(winners: Iterable[Winner], most: int) -> str:
    """The query for superseded winners of problems that a provider has won; empty if there is none.

    Those are left out that a later trial has found wrong.
    """
    if not any(_plan(winner) not in PLANS for winner in winners):
        return ""
    from gdn_ops.codegen.providers import PROVIDERS

    return _QUERY.format(providers=", ".join(f"'{name}'" for name in PROVIDERS), most=most)


def own_winners(rows: Iterable[Row], database: Location) -> tuple[Winner, ...]:
    """The last one of our own for each problem and target, from the rows of the query."""
    found: dict[tuple[str, str], Winner] = {}
    for row in rows:
        with suppress(ValueError, RecursionError):  # a malformed row is passed over
            winner = winner_of(row, database)
            keep_proof(winner, row)
            if _plan(winner) in PLANS:
                found[winner.problem_id, winner.target] = winner
    return tuple(found.values())


def _plan(winner: Winner) -> str:
    return str(winner.variant.get("plan"))
