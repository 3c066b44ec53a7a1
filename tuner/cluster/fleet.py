"""The fleet: the devices and compilers of a cluster that take part in a tuning session."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.codegen.target import Target
from gdn_ops.tuner.cluster.actors import DESCRIBE_SECONDS, Answer, MeasuringActor
from gdn_ops.tuner.cluster.connection import first_line
from gdn_ops.tuner.cluster.farm import Farm
from gdn_ops.tuner.cluster.member import Device, Member, NoNodesLeft, Server, Work
from gdn_ops.tuner.cluster.nodes import (
    Losses,
    Node,
    living_nodes,
    mismatches,
    on,
    refuse,
)
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.report.counted import counted

START_SECONDS = DESCRIBE_SECONDS + 30.0
"""Time limit for a device to start; its CPUs or GPU may be in use."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The devices to tune for.

    Args:
        device: ``cuda``, ``cpu``, or ``auto`` for the GPUs, else the CPUs.
        target: only devices of this target; None for all.
        threads: CPU threads of each device; None for PyTorch's default there.
    """

    device: str = "auto"
    target: str | None = None
    threads: int | None = None


class Fleet:
    """What takes part. Call ``close`` in the end.

    Args:
        report: is called with a sentence about a node that is lost or left out.
    """

    def __init__(self, ray: Any, wanted: Wanted, report: Callable[[str], None]) -> None:
        self._ray, self._wanted, self._report = ray, wanted, report
        self._seen: set[str] = set()
        self._losses = Losses()
        self._lock = threading.RLock()
        self.devices: list[Device] = []
        self._members: list[Member] = []
        self._targets: set[str] = set()
        nodes = living_nodes(ray)
        gpus = any(node.gpus for node in nodes)
        self.gpu = wanted.device == "cuda" or (wanted.device == "auto" and gpus)
        self.farm = Farm(ray, self._server_lost, self._losses.answered) if self.gpu else None

    def join(self) -> list[Device]:
        """Take in the nodes that are new; return their devices.

        Raises:
            InvalidInput: at the first call, a node has another gdn-ops, or no device is as wanted.
        """
        first = not self._seen
        nodes = [n for n in living_nodes(self._ray) if n.id not in self._seen]
        self._seen |= {node.id for node in nodes}
        nodes = [node for node in nodes if not self._losses.left_out(node)]
        why = mismatches(self._ray, nodes) if nodes else {}
        if first and why:
            raise refuse(list(why.values()))
        for text in why.values():
            self._report(f"{text}; it is left out")
        devices = self._devices_of([node for node in nodes if node.id not in why])
        if first and not devices:
            raise InvalidInput(self._none_wanted(nodes))
        return devices

    def replacement(self, device: Device) -> Device:
        """The device that takes over the jobs of one that was lost.

        It is the same one, started again, else another one in the same environment, so that times
        compare.

        Raises:
            NoNodesLeft: there is none.
        """
        with self._lock:
            while not self._losses.left_out(device.node) and self._lives(device.node):
                started = self._started(
                    device.node, self._actor(device.node), device.label, device.work
                )
                if isinstance(started, Device) and started.environment == device.environment:
                    self.devices.append(started)
                    return started
                self._count_loss(device.node, device.label, str(started))
            others = [
                each
                for each in self.devices
                if each.alive and each.environment == device.environment
                and each.target == device.target
            ]  # fmt: skip
            if not others:
                raise NoNodesLeft(f"no node is left that measures on {device.target.name}")
            return min(others, key=lambda each: each.turn.locked())

    def device_answered(self, device: Device) -> None:
        """A device has done a job."""
        self._losses.answered(device.node)

    def device_lost(self, device: Device, why: str) -> None:
        """Give up a device, which may be shared by searches; its node has lost a worker."""
        with self._lock:
            if not device.alive:
                return
            device.alive, device.work.ended = False, time.monotonic()
            device.work.lost += 1
            self.devices.remove(device)
        self._kill(device.actor)
        self._count_loss(device.node, device.label, why)

    def members(self) -> list[Member]:
        """Every device that took part, and every compiler."""
        servers = [] if self.farm is None else self.farm.servers
        return [*self._members, *(server.member() for server in servers)]

    def close(self) -> None:
        """Kill the actors, and with them their child processes."""
        for device in self.devices:
            self._kill(device.actor)
        if self.farm is not None:
            self.farm.close()

    def _devices_of(self, nodes: list[Node]) -> list[Device]:
        """Start the devices of nodes, side by side, and their compilers."""
        asked = []
        for node in nodes:
            count = node.gpus if self.gpu else min(1, node.cpus)
            if count and node.cpus < (self._wanted.threads or 0):
                self._report(
                    f"node {node.name} has {counted(node.cpus, 'CPU')}, fewer than --threads "
                    f"{self._wanted.threads}; it does not measure"
                )
                count = 0
            for i in range(count):
                label = f"{node.name} gpu {i}" if self.gpu and count > 1 else node.name
                asked.append((node, label, self._actor(node)))
            if self.farm is not None and node.cpus:
                self.farm.add(node, node.cpus - _reserved(node))
        descriptions = [
            (node, label, actor, actor.describe.remote()) for node, label, actor in asked
        ]
        found = []
        for node, label, actor, ref in descriptions:
            started = self._started(node, actor, label, Work(), ref)
            if isinstance(started, Device):
                found.append(started)
            elif started is not None:
                self._report(f"{label} is left out: {started}")
        with self._lock:
            self.devices += found
            self._members += [device.member() for device in found]
        return found

    def _actor(self, node: Node) -> Any:
        resources = {"num_gpus": 1, "num_cpus": int(_reserved(node) > 0)} if self.gpu else {
            "num_cpus": node.cpus  # so that nothing else of the cluster disturbs the times
        }  # fmt: skip
        options = {**resources, "max_restarts": 0, "scheduling_strategy": on(self._ray, node)}
        device = "cuda:0" if self.gpu else "cpu"
        made = self._ray.remote(MeasuringActor).options(**options)
        return made.remote(device, self._wanted.threads, node.cpus)

    def _started(
        self, node: Node, actor: Any, label: str, work: Work, description: Any = None
    ) -> Device | str | None:
        """The device of an actor; or why it did not start; None if it is not the wanted target."""
        ref = actor.describe.remote() if description is None else description
        try:
            answer: Answer = self._ray.get(ref, timeout=START_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            self._kill(actor)
            return f"it did not start within {START_SECONDS:g} seconds; are its devices in use?"
        except self._ray.exceptions.RayError as error:
            self._kill(actor)
            return first_line(error)
        if answer["payload"] is None:
            self._kill(actor)
            return f"{answer['status']} {answer['message']}".strip()
        target = Target(**answer["payload"]["target"])
        self._targets.add(target.name)
        if self._wanted.target not in (None, target.name):
            self._kill(actor)
            return None
        work.ended = None
        environment = Environment(**answer["payload"]["environment"])
        return Device(node, label, actor, target, environment, work=work)

    def _server_lost(self, server: Server, why: str) -> None:
        self._count_loss(server.node, server.label, why)
        again = not self._losses.left_out(server.node) and self._lives(server.node)
        if self.farm is not None and again:
            self.farm.add(server.node, server.work.places, server.work)

    def _count_loss(self, node: Node, label: str, why: str) -> None:
        with self._lock:
            out = self._losses.add(node)
        self._report(f"a worker of {label} was lost: {why}")
        if out:
            self._report(f"node {node.host} is left out, because it has lost {out} workers")

    def _lives(self, node: Node) -> bool:
        return any(each.id == node.id for each in living_nodes(self._ray))

    def _kill(self, actor: Any) -> None:
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor)

    def _none_wanted(self, nodes: list[Node]) -> str:
        wanted, target = self._wanted, self._wanted.target
        what = f"--target {target}" if target else f"--device {wanted.device}"
        if wanted.threads is not None:
            what += f" and --threads {wanted.threads}"
        have = [f"{n.name} ({n.cpus} CPUs, {n.gpus} GPUs)" for n in nodes]
        text = f"no node of the cluster has a device for {what}; it has {', '.join(have) or 'none'}"
        found = f" with the targets {', '.join(sorted(self._targets))}" if self._targets else ""
        return f"{text}{found}."


def _reserved(node: Node) -> int:
    """CPUs that are kept for the measuring processes of a node's GPUs, and do not compile."""
    return node.gpus if node.cpus > node.gpus else 0
