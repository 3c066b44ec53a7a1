"""The coordinator of a cluster: it owns the store and the searches, and the nodes do the work.

Each device tunes one problem at a time, so the times of a search are those of one device. Only if
that is lost the search goes on on another one in the same environment. The finals, which decide,
always time all their variants on one device.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gdn_ops.codegen.target import Target
from gdn_ops.dispatch.winner import Winner
from gdn_ops.tuner.campaign import Result, cover_problems, skip_finished
from gdn_ops.tuner.cluster.board import Board
from gdn_ops.tuner.cluster.fleet import Fleet
from gdn_ops.tuner.cluster.lane import Lane
from gdn_ops.tuner.cluster.lines import Lines
from gdn_ops.tuner.cluster.member import Device, Member, NoNodesLeft, introduced
from gdn_ops.tuner.cluster.pools import DevicePool, FarmPool
from gdn_ops.tuner.cluster.relay import Relay
from gdn_ops.tuner.deadline import NO_DEADLINE, Deadline
from gdn_ops.tuner.interruption import Interrupted, Interruption
from gdn_ops.tuner.search.covering import SHARE_OF_TIME
from gdn_ops.tuner.search.finished import finished_winners
from gdn_ops.tuner.search.trial_runner import Context, TrialRunner
from gdn_ops.tuner.session import (
    COMPILED_PER_TIMED,
    MAX_WIDTH,
    Request,
    problems_of,
    recorded_options,
    shared_time,
    stale_problems,
)
from gdn_ops.tuner.store.store import Store
from gdn_ops.tuner.workers.compilers import Compilers
from gdn_ops.tuner.workers.harness import JobHarness

REFRESH_SECONDS = 10.0
"""How often new nodes are looked for."""
POLL_SECONDS = 0.25


@dataclass(frozen=True)
class Tuned:
    """How a session ended.

    Args:
        results: by the name of the target.
        members: every device and compiler that took part.
        stranded: problems that no node is left for, by id.
    """

    results: dict[str, Result]
    members: Sequence[Member]
    interrupted: bool = False
    stranded: Sequence[str] = ()


@dataclass
class _Group:
    """The devices of one target: they share its problems, its run and its result."""

    target: Target
    run: int
    board: Board
    result: Result
    stale: Mapping[str, Winner] = field(default_factory=dict)
    lanes: list[Lane] = field(default_factory=list)


class Coordinator:
    """Tunes a request's problems on the devices of a fleet.

    Args:
        interruption: of the main thread.
    """

    def __init__(
        self, ray: Any, fleet: Fleet, store: Store, request: Request, *, lines: Lines,
        interruption: Interruption,
    ) -> None:  # fmt: skip
        self._ray, self._fleet, self._store = ray, fleet, store
        self._request, self._lines, self._interruption = request, lines, interruption
        self._groups: dict[str, _Group] = {}
        self._deadline = NO_DEADLINE

    def run(self) -> Tuned:
        with self._interruption.waiting():
            devices = self._fleet.join()
        minutes = self._request.minutes
        self._deadline = NO_DEADLINE if minutes is None else Deadline.after(60 * minutes)
        self._take_in(devices)
        try:
            self._watch()
        except BaseException:
            self._stop()
            raise
        self._cover()
        return self._ended()

    def _cover(self) -> None:
        """Give few variants to many sizes, on one device of each target."""
        share = self._request.options.cover
        for group in self._groups.values() if share is not None else ():
            assert share is not None
            lane = next((lane for lane in group.lanes if lane.pool.device.alive), None)
            if lane is None or self._interruption.requested or group.board.waiting:
                continue
            problems = [group.result.problems[name] for name in group.result.winners]
            try:
                cover_problems(
                    problems, lane.context, group.result, share=share, deadline=self._deadline
                )
            except NoNodesLeft as error:
                self._lines.note(f"each size keeps its winner: {error}")

    def _watch(self) -> None:
        """Wait until all lanes have ended and no problem waits that a device could take."""
        looked = time.monotonic()
        while self._running() or self._take_over():
            for lane in self._lanes():
                if lane.error is not None:
                    raise lane.error
            running = self._running()
            if running:
                running[0].join(POLL_SECONDS)
            if not self._interruption.requested and time.monotonic() > looked + REFRESH_SECONDS:
                try:
                    with self._interruption.waiting():
                        self._take_in(self._fleet.join())
                except Interrupted:
                    continue
                looked = time.monotonic()
        for lane in self._lanes():
            if lane.error is not None:
                raise lane.error

    def _take_in(self, devices: Sequence[Device]) -> None:
        """Make a lane for each new device, and start it."""
        for name in dict.fromkeys(device.target.name for device in devices):
            own = [device for device in devices if device.target.name == name]
            known = self._groups.get(name)
            group = self._groups.setdefault(name, known or self._group(own[0]))
            lanes = [self._lane(device, group) for device in own]
            group.lanes += lanes
            if known is None:
                self._look_up(group)
                for line in introduced(own):
                    self._lines.note(line)
            else:
                self._lines.note(f"{', '.join(device.label for device in own)} joined")
            for lane in lanes:
                lane.start()

    def _group(self, device: Device) -> _Group:
        request, target, stale = self._request, device.target, dict[str, Winner]()
        if request.stale:
            stale = stale_problems(request, target, device.environment.driver)
            request = replace(request, problems=problems_of(stale), counts=None)
        run = self._store.start_run(
            request.workload, target.name, seed=request.options.seed,
            options=recorded_options(request),
        )  # fmt: skip
        problems, shares = shared_time(request, target, self._lines.view(str))
        cover = request.options.cover
        until = self._deadline if cover is None else self._deadline.portion(1 - SHARE_OF_TIME)
        result = Result({problem.id(): problem for problem in problems})
        return _Group(target, run, Board(list(problems), until, shares), result, stale)

    def _lane(self, device: Device, group: _Group) -> Lane:
        relay, target, farm = Relay(self._interruption), device.target, self._fleet.farm
        pool = DevicePool(self._ray, self._fleet, device, relay)
        compilers = None
        if farm is not None:
            compilers = Compilers(target, FarmPool(farm, relay, pool.take), relay)
        harness = JobHarness(
            target, "cuda:0" if target.gpu else "cpu", threads=device.environment.threads,
            one=pool, compilers=compilers, interruption=relay,
        )  # fmt: skip
        harness.end_by(self._deadline)
        context = Context(
            store=self._store,
            harness=harness,
            target=target,
            environment=self._store.add_environment(device.environment),
            run=group.run,
            report=self._lines.view(lambda: pool.device.label),
        )
        places = 0 if farm is None else farm.places // max(1, len(self._fleet.devices))
        options = replace(
            self._request.options,
            width=min(MAX_WIDTH, max(2, 2 * places)) if target.gpu else 1,
            compiled_per_timed=COMPILED_PER_TIMED if target.gpu else 1,
        )
        return Lane(
            context=context, pool=pool, board=group.board, result=group.result, options=options,
            relay=relay, devices=lambda: self._count(target), stale=group.stale,
        )  # fmt: skip

    def _count(self, target: Target) -> int:
        return max(1, sum(each.target.name == target.name for each in self._fleet.devices))

    def _look_up(self, group: _Group) -> None:
        """Take from the board what is finished in some environment, and see what is begun where."""
        contexts = {lane.context.environment: lane.context for lane in group.lanes}
        begun: dict[str, set[int]] = {}
        for environment, context in contexts.items():
            waiting = list(group.board.waiting)
            options = self._request.options
            finished = {} if options.again else finished_winners(context, waiting, options.plans)
            for problem in waiting:
                winner = finished.get(problem.id())
                if winner is not None:
                    skip_finished(context, winner, group.result)
                    group.board.drop(problem)
                elif TrialRunner(context, problem).trials:
                    begun.setdefault(problem.id(), set()).add(environment)
        group.board.begun = begun

    def _take_over(self) -> bool:
        """Start lanes for problems that others have left; return whether there are any."""
        if self._interruption.requested:
            return False
        fresh = []
        for group in self._groups.values():
            left = [lane.pool.device for lane in group.lanes if lane.stranded]
            alive = [
                device
                for device in self._fleet.devices
                if device.target.name == group.target.name and device not in left
            ]
            if group.board.waiting:
                lanes = [self._lane(device, group) for device in alive]
                group.lanes += lanes
                fresh += lanes
        for lane in fresh:
            lane.start()
        return bool(fresh)

    def _stop(self) -> None:
        """Let all lanes keep what they have and end."""
        for lane in self._lanes():
            lane.relay.requested = True
        for lane in self._running():
            lane.join(POLL_SECONDS * 40)

    def _ended(self) -> Tuned:
        stranded = [
            problem.id() for group in self._groups.values() for problem in group.board.waiting
        ]
        interrupted = self._interruption.requested
        whole = not interrupted and not stranded
        for group in self._groups.values():
            result = group.result
            result.interrupted |= interrupted
            # in the order of the workload, not in that in which they ended
            order = [name for name in result.problems if name in result.winners]
            result.winners = {name: result.winners[name] for name in order}
            self._store.finish_run(group.run, "finished" if whole else "interrupted")
        return Tuned(
            {name: group.result for name, group in self._groups.items()},
            self._fleet.members(),
            interrupted,
            () if interrupted else stranded,
        )

    def _lanes(self) -> list[Lane]:
        return [lane for group in self._groups.values() for lane in group.lanes]

    def _running(self) -> list[Lane]:
        return [lane for lane in self._lanes() if not lane.join(0)]
