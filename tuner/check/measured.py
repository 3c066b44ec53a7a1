"""The measured check: times of a base and a head on one device, in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from time import monotonic

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.check.baseline_file import Run
from gdn_ops.tuner.check.measured_check import MeasuredCheck, Request
from gdn_ops.tuner.check.outcome import Outcome
from gdn_ops.tuner.check.sides import Side, opened
from gdn_ops.tuner.interruption import Interrupted, Interruption


def check_measured(
    request: Request, say: Callable[[str], None] = lambda text: None
) -> tuple[Outcome, Run | None]:
    """Compare a base with a head.

    Must be called from the main thread, because it handles SIGINT and SIGTERM: the first one ends
    the check, and the outcome has what was measured until then.

    Args:
        say: is told of the progress, a line each time.

    Returns:
        The outcome, and the samples of the head to be saved; None if it was not measured.

    Raises:
        InvalidInput: a side does not exist, the base cannot be imported, or there is no problem to
            compare. A head that cannot be imported is a row of the outcome.
    """
    begin, started = monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
    interruption, interrupted = Interruption(), False
    with ExitStack() as stack:
        stack.enter_context(interruption.listen())
        sides = {
            role: stack.enter_context(opened(given, role, database=request.database))
            for role, given in (("base", request.base), ("head", request.head))
        }
        lacking = _lacking(request.database, sides)
        check = MeasuredCheck(request, sides, say)
        try:
            with interruption.waiting():
                check.run()
        except Interrupted:
            interrupted = True
    outcome = Outcome(
        kind="measured",
        base=sides["base"].label,
        head=sides["head"].label,
        environment=check.environment,
        rows=check.rows(),
        started=started,
        seconds=monotonic() - begin,
        interrupted=interrupted,
        notes=tuple(dict.fromkeys([*lacking, *check.notes, *_same_commit(sides)])),
    )
    return outcome, check.saved(started)


def _lacking(database: Path | None, sides: Mapping[str, Side]) -> list[str]:
    """A sentence for a side that has no such database, and uses its own winners.

    Raises:
        InvalidInput: no side has it.
    """
    live = [side for side in sides.values() if side.stored is None]
    without = [side for side in live if side.database is None]
    if database is None or not without:
        return []
    if len(without) == len(live):
        names = " nor ".join(f"{side.role} ({side.label})" for side in live)
        raise InvalidInput(
            f"--db {database} is a file of {'neither ' if len(live) > 1 else 'no '}{names}; give "
            "the path of a results database that `gdn tune` wrote."
        )
    return [
        f"The {side.role} has no {database}, and uses the winners of its package."
        for side in without
    ]


def _same_commit(sides: Mapping[str, Side]) -> list[str]:
    commits = {side.commit for side in sides.values()}
    if len(commits) == 1 and None not in commits:
        return ["Base and head are the same commit; name another one with --base, e.g. HEAD~1."]
    return []
