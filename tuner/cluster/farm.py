"""The farm: compiles jobs of all searches on the CPUs of all nodes, as many at once as there are.

One thread hands out the jobs and takes the answers, also while the searches measure.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from gdn_ops.tuner.cluster.actors import CompilingActor
from gdn_ops.tuner.cluster.connection import first_line
from gdn_ops.tuner.cluster.member import NoNodesLeft, Server, Work
from gdn_ops.tuner.cluster.nodes import Node, on
from gdn_ops.tuner.workers.worker_pool import Job, JobResult

ANSWER_SECONDS = 30.0
"""A node answers at most this long after the time limit of its job, or counts as lost."""
MAX_ASKED = 2
"""Workers that a job may lose; then it fails, because it may be what kills them."""
NO_SERVER_SECONDS = 60.0
"""How long jobs wait for a node that compiles, if there is none."""
TICK_SECONDS = 1.0
"""How often time limits are looked at."""


@dataclass(eq=False)
class Order:
    """A job to compile.

    Args:
        deliver: is called once, from the farm's thread, with the result or why there is none, a
            reference to the entry of Triton's cache that the job has made, and the node.
        lost: nodes that were lost while it ran.
    """

    job: Job
    deliver: Callable[[JobResult | Exception, Any, Node | None], None]
    lost: list[str] = field(default_factory=list)


@dataclass(eq=False)
class _Running:
    order: Order
    server: Server
    entry: Any
    start: float

    @property
    def late(self) -> bool:
        return time.monotonic() > self.start + self.order.job.timeout + ANSWER_SECONDS


class Farm:
    """The nodes that compile.

    Args:
        lost: is called with a server that was lost and why; it may ``add`` the node again.
        answered: is called with the node of each answer.
    """

    def __init__(
        self, ray: Any, lost: Callable[[Server, str], None], answered: Callable[[Node], None]
    ) -> None:
        self._ray, self._lost, self._told = ray, lost, answered
        self._lock = threading.Lock()
        self.servers: list[Server] = []
        self._waiting: deque[Order] = deque()
        self._running: set[_Running] = set()
        self._events: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._served = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="gdn-farm", daemon=True)
        self._thread.start()

    @property
    def places(self) -> int:
        """Jobs that run side by side when every server is up."""
        return sum(server.work.places for server in self.servers if not server.work.ended)

    def add(self, node: Node, places: int, work: Work | None = None) -> None:
        """Compile on a node too, once its actor has started.

        Args:
            work: what an earlier server of the node has done, if it had one.
        """
        actor = (
            self._ray.remote(CompilingActor)
            .options(
                num_cpus=places, max_concurrency=places, max_restarts=0,
                scheduling_strategy=on(self._ray, node),
            )
            .remote()
        )  # fmt: skip
        work = Work(places) if work is None else work
        work.ended = None
        server = Server(node, actor, work, alive=False)
        with self._lock:
            self.servers = [each for each in self.servers if each.work is not work] + [server]
        ready = actor.ready.remote()
        ready.future().add_done_callback(
            lambda done: self._events.put(lambda: self._up(server, done.exception()))
        )

    def submit(self, order: Order) -> None:
        """Compile a job as soon as a node is free for it."""
        self._events.put(lambda: self._waiting.append(order))

    def close(self) -> None:
        """Kill the actors. What runs is not delivered."""
        self._events.put(None)
        self._thread.join()
        for server in self.servers:
            self._ray.kill(server.actor)

    def _run(self) -> None:
        while True:
            try:
                event = self._events.get(timeout=TICK_SECONDS)
            except Empty:
                event = self._look_at_limits
            if event is None:
                return
            try:
                event()
                self._fill()
            except Exception as error:
                # the searches raise it; without an answer they would wait for ever
                for order in (*self._waiting, *(each.order for each in self._running)):
                    order.deliver(error, None, None)
                self._waiting.clear()
                self._running.clear()

    def _up(self, server: Server, error: BaseException | None) -> None:
        if error is None:
            server.alive = True
            server.work.start = min(server.work.start, time.monotonic())
        else:
            self._fell(server, first_line(error))

    def _fill(self) -> None:
        while self._waiting:
            server = max(self.servers, key=lambda server: server.free, default=None)
            if server is None or server.free < 1:
                break
            self._send(self._waiting.popleft(), server)
        if not self._waiting or any(server.alive for server in self.servers):
            self._served = time.monotonic()
        elif time.monotonic() > self._served + NO_SERVER_SECONDS:
            self._give_up()

    def _send(self, order: Order, server: Server) -> None:
        job = order.job
        compile_ = server.actor.compile.options(num_returns=2)
        answer, entry = compile_.remote(job.kind, dict(job.payload), job.timeout, job.left)
        running = _Running(order, server, entry, time.monotonic())
        self._running.add(running)
        server.running += 1
        answer.future().add_done_callback(
            lambda done: self._events.put(lambda: self._answered(running, done))
        )

    def _answered(self, running: _Running, done: Any) -> None:
        if running not in self._running:
            return  # it was late, and was asked of another node
        error = done.exception()
        if error is not None:
            self._fell(running.server, first_line(error))
            return
        self._running.remove(running)
        server = running.server
        server.running -= 1
        server.work.jobs += 1
        server.work.busy += time.monotonic() - running.start
        self._told(server.node)
        result = JobResult(job=running.order.job, **done.result())
        running.order.deliver(result, running.entry, server.node)

    def _fell(self, server: Server, why: str) -> None:
        """A server was lost: its jobs are asked again elsewhere."""
        if server.work.ended:
            return
        now = time.monotonic()
        server.alive, server.work.ended = False, now
        for running in [each for each in self._running if each.server is server]:
            self._running.remove(running)
            server.work.lost += 1
            server.work.busy += now - running.start
            order = running.order
            order.lost.append(server.label)
            if len(order.lost) < MAX_ASKED:
                self._waiting.appendleft(order)
            else:
                order.deliver(lost_job(order.job, order.lost), None, None)
        self._ray.kill(server.actor)
        self._lost(server, why)

    def _look_at_limits(self) -> None:
        for running in list(self._running):
            if running.late and running in self._running:
                seconds = running.order.job.timeout + ANSWER_SECONDS
                self._fell(running.server, f"it did not answer within {seconds:g} seconds")

    def _give_up(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for order in waiting:
            order.deliver(NoNodesLeft("no node is left that could compile"), None, None)


def lost_job(job: Job, nodes: list[str]) -> JobResult:
    """The result of a job that has cost so many nodes that it is not asked again."""
    message = f"{len(nodes)} workers were lost while it ran, on {', '.join(nodes)}"
    return JobResult(job=job, status="fault", message=message)
