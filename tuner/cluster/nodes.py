"""The nodes of a cluster: which there are, what they have installed, and how often they failed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdn_ops.codegen.errors import InvalidInput
from gdn_ops.tuner.cluster import node_facts
from gdn_ops.tuner.cluster.connection import first_line
from gdn_ops.tuner.cluster.node_facts import FILES, VERSION

FACTS_SECONDS = 60.0
"""Time limit for a node to say what it has installed."""
FREE_LOSSES = 2
JOBS_PER_LOSS = 10
"""What a machine may lose before it is left out; see ``Losses``."""
ID_LETTERS = 6
"""Letters of a node's id that are shown where several nodes are on one machine."""


@dataclass(frozen=True)
class Node:
    """A living node.

    Args:
        id: Ray's name of it.
        name: its machine's host name, with the start of the id if the machine has several nodes.
        host: the host name; losses are counted by it, because a node that comes back has a new id.
        cpus, gpus: how many Ray may use.
    """

    id: str
    name: str
    host: str
    cpus: int
    gpus: int


def living_nodes(ray: Any) -> list[Node]:
    """The nodes that are alive and have CPUs or GPUs to use."""
    rows = [row for row in ray.nodes() if row["Alive"]]
    hosts = Counter(row["NodeManagerHostname"] for row in rows)
    found = []
    for row in rows:
        host, resources = row["NodeManagerHostname"], row["Resources"]
        name = host if hosts[host] == 1 else f"{host}/{row['NodeID'][:ID_LETTERS]}"
        cpus, gpus = (int(resources.get(kind, 0)) for kind in ("CPU", "GPU"))
        if cpus or gpus:
            found.append(Node(row["NodeID"], name, host, cpus, gpus))
    return found


def on(ray: Any, node: Node) -> Any:
    """The scheduling strategy that keeps a task or an actor on a node."""
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)


def mismatches(ray: Any, nodes: Sequence[Node]) -> dict[str, str]:
    """Why nodes cannot take part, by id: they lack this gdn-ops, or do not answer."""
    ray.cloudpickle.register_pickle_by_value(node_facts)
    try:
        ask = ray.remote(num_cpus=0, max_retries=0)(node_facts.node_facts)
        answers = {
            node.id: ask.options(scheduling_strategy=on(ray, node)).remote() for node in nodes
        }
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_facts)
    ours = node_facts.node_facts()
    found = {}
    for node in nodes:
        try:
            facts = ray.get(answers[node.id], timeout=FACTS_SECONDS)
        except ray.exceptions.RayError as error:
            found[node.id] = f"node {node.name} does not answer ({first_line(error)})"
            continue
        why = mismatch(node.name, facts, ours)
        if why is not None:
            found[node.id] = why
    return found


def mismatch(name: str, facts: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """Why a node with these facts cannot take part; None if it can."""
    if not facts[VERSION]:
        return f"node {name} has no gdn-ops"
    if facts[VERSION] != ours[VERSION]:
        return f"node {name} has gdn-ops {facts[VERSION]}"
    if facts[FILES] != ours[FILES]:
        return f"node {name} has other files under the name of gdn-ops {facts[VERSION]}"
    return None


def refuse(why: Sequence[str]) -> InvalidInput:
    """The error that names nodes which cannot take part."""
    version = node_facts.node_facts()[VERSION]
    return InvalidInput(
        f"{'; '.join(why)}; install gdn-ops {version}, as it is here, on every node of the cluster."
    )


class Losses:
    """How often workers of each machine were lost, and which machines are left out for it.

    A machine may lose two workers, because a trial may have killed both, and one more for every
    ``JOBS_PER_LOSS`` jobs that it has answered.
    """

    def __init__(self) -> None:
        self._lost: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._out: set[str] = set()
        self._lock = threading.Lock()

    def answered(self, node: Node) -> None:
        """A worker of a node has answered a job."""
        with self._lock:
            self._answered[node.host] += 1

    def add(self, node: Node) -> int:
        """Count a loss; return how many the machine has if it is left out from now on, else 0."""
        with self._lock:
            self._lost[node.host] += 1
            lost = self._lost[node.host]
            allowed = FREE_LOSSES + self._answered[node.host] // JOBS_PER_LOSS
            if lost <= allowed or node.host in self._out:
                return 0
            self._out.add(node.host)
            return lost

    def left_out(self, node: Node) -> bool:
        return node.host in self._out
