"""How many times the trials per hour of compile-bound work two Ray nodes give, against one.

Both clusters are on this machine, each node with one CPU. Their work is to compile configs of one
problem for a GPU, without measuring, each time into empty caches. The order is 1, 2, 2, 1 nodes, so
that a drift of the machine's speed cancels. On a machine that other work shares, compare CPU
seconds per config: where they differ between one node and two, the cores were not free.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gdn_ops.codegen.targets import target_named
from gdn_ops.tuner.cluster.connection import connected
from gdn_ops.tuner.cluster.farm import Farm
from gdn_ops.tuner.cluster.nodes import living_nodes
from gdn_ops.tuner.cluster.pools import FarmPool
from gdn_ops.tuner.interruption import Interruption
from gdn_ops.tuner.report import console
from gdn_ops.tuner.spaces.space import plans_for
from gdn_ops.tuner.spaces.workloads import prefill
from gdn_ops.tuner.workers.offline import compile_job
from gdn_ops.tuner.workers.worker_pool import Job

ORDER = (1, 2, 2, 1)
CPUS_PER_NODE = 1
OBJECT_STORE_BYTES = 100 << 20


@dataclass(frozen=True)
class Arm:
    """One run: how many nodes compiled how many configs in how many seconds."""

    nodes: int
    configs: int
    failed: int
    seconds: float
    cpu_seconds: float

    @property
    def per_hour(self) -> float:
        return 3600 * self.configs / self.seconds


def jobs(target_name: str, plan: str, count: int) -> list[Job]:
    """The first configs of the stages of a plan, in turn, as a search compiles them."""
    target, problem = target_named(target_name), prefill(tokens=2048)
    (spaces, *_) = plans_for(problem, target, (plan,))[plan]
    compiled = [space for space in spaces if space.configs]
    found = []
    for space in compiled:
        configs = islice(space.nearest(), -(-count // len(compiled)))
        found += [
            compile_job(
                plan, space.stage, {**dict(space.interface), **config},
                problem=problem, target=target, timeout=120,
            )
            for config in configs
        ]  # fmt: skip
    return found[:count]


@contextmanager
def cluster(nodes: int) -> Iterator[str]:
    """A cluster of this machine with empty caches; gives its address."""
    from ray.cluster_utils import Cluster

    with TemporaryDirectory() as folder:
        kept = dict(os.environ)
        os.environ |= {
            "TRITON_CACHE_DIR": str(Path(folder) / "triton"),
            "GDN_CACHE_DIR": str(Path(folder) / "gdn"),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        try:
            made = Cluster()
            for _ in range(nodes):
                made.add_node(
                    num_cpus=CPUS_PER_NODE, object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                )  # fmt: skip
            yield made.address
            made.shutdown()
        finally:
            os.environ.clear()
            os.environ |= kept


def run(nodes: int, work: list[Job]) -> Arm:
    """Compile the work on a new cluster; the start of the compilers is not timed."""
    with cluster(nodes) as address, connected(address) as ray:
        farm = Farm(ray, _lost, lambda node: None)
        for node in living_nodes(ray):
            farm.add(node, CPUS_PER_NODE)
        pool = FarmPool(farm, Interruption())
        warm: Any = [Job(kind="compile", payload=job.payload, timeout=120) for job in work[:1]]
        while sum(server.work.jobs > 0 for server in farm.servers) < nodes:
            list(pool.start(warm * nodes))
        start, used = time.perf_counter(), _cpu_seconds()
        results = list(pool.start(work[1:]))
        seconds, used = time.perf_counter() - start, _cpu_seconds() - used
        farm.close()
    failed = sum(not result.ok for result in results)
    return Arm(nodes, len(results), failed, seconds, used)


def _lost(server: Any, why: str) -> None:
    raise RuntimeError(f"the node {server.label} was lost, so nothing compares: {why}")


def _cpu_seconds() -> float:
    """CPU time of this process and of all that it started, also of those that have ended."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has just ended
        parents[int(folder.name)] = int(fields[1])
        ticks[int(folder.name)] = sum(int(x) for x in fields[11:15])
    found, waiting = 0, [os.getpid()]
    while waiting:
        parent = waiting.pop()
        found += ticks.get(parent, 0)
        waiting += [pid for pid, its in parents.items() if its == parent]
    return found / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.ray_nodes", description=__doc__)
    parser.add_argument("--configs", type=int, default=60, help="configs that each run compiles")
    parser.add_argument("--target", default="h200")
    parser.add_argument("--plan", default="split")
    arguments = parser.parse_args()
    work = jobs(arguments.target, arguments.plan, arguments.configs + 1)
    arms = []
    for nodes in ORDER:
        arms.append(run(nodes, work))
        arm = arms[-1]
        console.say(
            f"{nodes} node{'s' if nodes > 1 else ''}: {arm.configs} configs ({arm.failed} failed) "
            f"in {arm.seconds:.1f} s, {arm.per_hour:.0f} per hour; "
            f"{arm.cpu_seconds / arm.configs:.2f} CPU s per config"
        )
    one, two = (
        sum(arm.seconds for arm in arms if arm.nodes == count) / ORDER.count(count)
        for count in (1, 2)
    )
    console.say(f"two nodes give {one / two:.2f} times the trials per hour of one")


if __name__ == "__main__":
    main()
