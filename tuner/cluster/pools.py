"""What a search sees of the cluster: workers that compile, and one that measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

from gdn_ops.tuner.cluster.connection import first_line
from gdn_ops.tuner.cluster.farm import ANSWER_SECONDS, MAX_ASKED, Farm, Order, lost_job
from gdn_ops.tuner.cluster.fleet import Fleet
from gdn_ops.tuner.cluster.member import Device, Lost, NoNodesLeft
from gdn_ops.tuner.cluster.nodes import Node
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.workers.worker_pool import Job, JobResult

POLL_SECONDS = 0.25
"""How often a search that waits looks whether it is interrupted."""

TakeEntry = Callable[[Any, Node], None]
"""Takes a reference to an entry of Triton's cache and the node that has it."""


def ignore(entry: Any, node: Node) -> None:
    """Leave what was compiled where it is."""


class FarmPool:
    """Compiles the jobs of one search on the farm.

    Args:
        take: is given what each job has left in Triton's cache.
    """

    def __init__(self, farm: Farm, interruption: Interruption, take: TakeEntry = ignore) -> None:
        self._farm, self._interruption, self._take = farm, interruption, take

    def start(self, jobs: Iterable[Job]) -> Iterator[JobResult]:
        """Send every job to the farm; the results come as they finish.

        Raises:
            NoNodesLeft: no node is left to compile.
        """
        found: SimpleQueue[JobResult | Exception] = SimpleQueue()

        def deliver(result: JobResult | Exception, entry: Any, node: Node | None) -> None:
            if entry is not None and node is not None:
                self._take(entry, node)
            found.put(result)

        orders = [Order(job, deliver) for job in jobs]
        for order in orders:
            self._farm.submit(order)
        return self._results(found, len(orders))

    def close(self) -> None:
        """Nothing: the farm belongs to all searches."""

    def _results(
        self, found: SimpleQueue[JobResult | Exception], count: int
    ) -> Iterator[JobResult]:
        while count:
            self._interruption.check()
            try:
                result = found.get(timeout=POLL_SECONDS)
            except Empty:
                continue
            if isinstance(result, Exception):
                raise result
            count -= 1
            yield result


class DevicePool:
    """Runs the jobs of one search on a device, and on another one once that is lost."""

    def __init__(self, ray: Any, fleet: Fleet, device: Device, interruption: Interruption) -> None:
        self._ray, self._fleet, self._interruption = ray, fleet, interruption
        self.device = device

    def one(self, job: Job) -> JobResult:
        """Run a job; if its worker is lost, it is asked again, a few times.

        Raises:
            NoNodesLeft: no device in this environment is left.
        """
        lost: list[str] = []
        while len(lost) < MAX_ASKED:
            if not self.device.alive:
                self.device = self._fleet.replacement(self.device)
            device = self.device
            try:
                result = self._run(device, job)
            except Lost as error:
                lost.append(device.label)
                self._fleet.device_lost(device, str(error))
                continue
            if result is not None:
                self._fleet.device_answered(device)
                return result
        return lost_job(job, lost)

    def take(self, entry: Any, node: Node) -> None:
        """Bring what another node has compiled to the device, so that it need not compile."""
        device = self.device
        if device.alive and device.node.id != node.id:
            device.actor.keep.remote(entry)

    def close(self) -> None:
        """Nothing: the device belongs to the fleet."""

    def _run(self, device: Device, job: Job) -> JobResult | None:
        """Run a job once it is its turn; None if the device was lost before."""
        while not device.turn.acquire(timeout=POLL_SECONDS):
            self._interruption.check()
        try:
            if not device.alive:
                return None
            start = time.monotonic()
            try:
                answer = self._answer(device, job, start)
            finally:
                device.work.busy += time.monotonic() - start
            if job.kind == "measure":
                device.work.jobs += 1
            return JobResult(job=job, **answer)
        finally:
            device.turn.release()

    def _answer(self, device: Device, job: Job, start: float) -> dict[str, Any]:
        ref = device.actor.run.remote(job.kind, dict(job.payload), job.timeout, job.left)
        limit = job.timeout + ANSWER_SECONDS
        while not self._ray.wait([ref], timeout=POLL_SECONDS)[0]:
            self._interruption.check()
            if time.monotonic() > start + limit:
                raise Lost(f"it did not answer within {limit:g} seconds")
        try:
            answer: dict[str, Any] = self._ray.get(ref)
        except self._ray.exceptions.RayError as error:
            raise Lost(first_line(error)) from error
        except ConnectionError as error:
            text = f"the connection to the cluster was lost ({first_line(error)})"
            raise NoNodesLeft(text) from error
        return answer
