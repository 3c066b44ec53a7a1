"""A lane: the thread that tunes one problem after another on one device of a cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gdn_ops.dispatch.winner import Winner
from gdn_ops.tuner.campaign import Result, settle, tune_one
from gdn_ops.tuner.cluster.board import Board, Taken
from gdn_ops.tuner.cluster.member import NoNodesLeft
from gdn_ops.tuner.cluster.pools import DevicePool
from gdn_ops.tuner.cluster.relay import Relay
from gdn_ops.tuner.interruption import Interrupted
from gdn_ops.tuner.report.progress import Note, ProblemStarted
from gdn_ops.tuner.search.space_search import Options
from gdn_ops.tuner.search.trial_runner import Context, TrialRunner


@dataclass(kw_only=True)
class Lane:
    """Tunes problems of a board.

    Args:
        result: of the target, shared with other lanes.
        devices: how many devices share the board now.
        stale: winners whose top variants are timed again, by the ids of their problems.
        error: what ended the lane early, other than an interruption and the loss of nodes.
        stranded: whether it ended because no device was left.
    """

    context: Context
    pool: DevicePool
    board: Board
    result: Result
    options: Options
    relay: Relay
    devices: Callable[[], int]
    stale: Mapping[str, Winner]
    error: BaseException | None = None
    stranded: bool = False

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="gdn-lane", daemon=True)

    def start(self) -> None:
        """Run in a thread; it ends with the program."""
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end of the lane; return whether it does not run."""
        if self._thread.ident is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        own = self.pool.device.work
        try:
            # a lane whose device is gone leaves the problems to those that have one
            while self.pool.device.work is own:
                taken = self.board.take(self.context.environment, self.devices())
                if taken is None or not self._tune(taken):
                    return
        except BaseException as error:
            self.error = error

    def _tune(self, taken: Taken) -> bool:
        """Tune a problem; return whether the lane can go on."""
        problem, report = taken.problem, self.context.report
        runner = TrialRunner(self.context, problem)
        report(
            ProblemStarted(
                problem_id=problem.id(), number=taken.number, total=self.board.total,
                deadline=taken.deadline,
            )
        )  # fmt: skip
        try:
            self.relay.check()
            before = self.stale.get(problem.id())
            tune_one(runner, self.result, before, options=self.options, deadline=taken.deadline)
        except Interrupted:
            settle(runner, self.result)
            self.board.done(problem)
            return False
        except NoNodesLeft as error:
            self.board.put_back(problem)
            report(Note(text=f"{problem.id()} waits: {error}"))
            self.stranded = True
            return False
        self.board.done(problem)
        return True
