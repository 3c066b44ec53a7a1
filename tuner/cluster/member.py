"""Members: the actors of a cluster as the coordinator sees them, and what they have done."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gdn_ops.codegen.target import Target
from gdn_ops.tuner.cluster.nodes import Node
from gdn_ops.tuner.measure.fingerprint import Environment
from gdn_ops.tuner.report.counted import counted


class Lost(Exception):
    """An actor died or does not answer; its job can be asked of another one."""


class NoNodesLeft(Exception):
    """No node is left that could run a job; the store has everything that finished."""


@dataclass
class Work:
    """What a member has done.

    Args:
        places: jobs that it can run side by side.
        jobs: jobs that it has answered.
        lost: jobs that ran when it was lost.
        busy: seconds of all jobs together.
        ended: when it was lost; None while it lives.
    """

    places: int = 1
    jobs: int = 0
    lost: int = 0
    busy: float = 0.0
    start: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def idle_share(self, now: float) -> float:
        """The share of its time in which it did nothing, from 0 to 1."""
        whole = self.places * ((self.ended or now) - self.start)
        return max(0.0, 1.0 - self.busy / whole) if whole > 0 else 1.0


@dataclass(frozen=True)
class Member:
    """What is shown of a device or a compiler in the end.

    Args:
        label: its node.
        role: what it does.
    """

    label: str
    role: str
    work: Work


@dataclass(eq=False)
class Device:
    """A device that measures, one job at a time.

    Args:
        label: how lines and tables name it.
        target, environment: as its node describes them.
        turn: held while a job runs, so that the job's time starts when the device does.
    """

    node: Node
    label: str
    actor: Any
    target: Target
    environment: Environment
    alive: bool = True
    work: Work = field(default_factory=Work)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def member(self) -> Member:
        return Member(self.label, f"measures on {self.target.name}", self.work)


@dataclass(eq=False)
class Server:
    """An actor that compiles on the CPUs of a node."""

    node: Node
    actor: Any
    work: Work
    alive: bool = True
    running: int = 0

    @property
    def label(self) -> str:
        return self.node.name

    def member(self) -> Member:
        return Member(self.label, f"compiles on {counted(self.work.places, 'CPU')}", self.work)

    @property
    def free(self) -> int:
        """Jobs that it could start at once."""
        return self.work.places - self.running if self.alive else 0


def introduced(devices: Sequence[Device]) -> list[str]:
    """Lines that name the devices of a target, by environment if they have several."""
    by_environment: dict[str, list[Device]] = {}
    for device in devices:
        by_environment.setdefault(device.environment.hash, []).append(device)
    head = f"{devices[0].target.name}: {counted(len(devices), 'device')}"
    if len(by_environment) == 1:
        return [f"{head} ({', '.join(device.label for device in devices)})"]
    lines = [f"{head} in {len(by_environment)} environments, whose times are kept apart:"]
    for own in by_environment.values():
        one = own[0].environment
        versions = f"torch {one.torch}, triton {one.triton}, driver {one.driver}"
        labels = ", ".join(device.label for device in own)
        lines.append(f"  {one.device}, {versions}, {counted(one.threads, 'thread')}: {labels}")
    return lines
