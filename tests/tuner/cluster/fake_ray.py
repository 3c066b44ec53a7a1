"""A stand-in for the module ``ray``: actors are objects here, and die when a test says so."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from gdn_ops.tuner.cluster.nodes import Node


class RayError(Exception):
    """What Ray raises for an actor that died."""


class GetTimeoutError(RayError):
    """What Ray raises for an answer that does not come."""


class Ref:
    """A reference to an answer that is there already, or to an error."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._future: Future[Any] = Future()
        try:
            self._future.set_result(ask())
        except RayError as error:
            self._future.set_exception(error)

    def future(self) -> Future[Any]:
        return self._future

    def result(self) -> Any:
        return self._future.result()


class Method:
    """A method of an actor, with what Ray adds to it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call, self._returns = call, 1

    def options(self, *, num_returns: int) -> Method:
        other = Method(self._call)
        other._returns = num_returns
        return other

    def remote(self, *arguments: Any) -> Any:
        ref = Ref(lambda: self._call(*arguments))
        return ref if self._returns == 1 else (ref, "entry")


class FakeRay:
    """One machine per node; ``actor`` makes the object that stands for an actor.

    Args:
        actor: is called with the class of the actor, and the id of its node.
    """

    exceptions = SimpleNamespace(RayError=RayError, GetTimeoutError=GetTimeoutError)

    def __init__(self, actor: Callable[[type, str], Any], nodes: list[Node]) -> None:
        self._actor, self.alive = actor, {node.id: node for node in nodes}
        self.killed: list[Any] = []
        strategies = SimpleNamespace(NodeAffinitySchedulingStrategy=lambda id, soft: id)
        self.util = SimpleNamespace(scheduling_strategies=strategies)

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "NodeID": node.id, "NodeManagerHostname": node.host, "Alive": True,
                "Resources": {"CPU": float(node.cpus), "GPU": float(node.gpus)},
            }
            for node in self.alive.values()
        ]  # fmt: skip

    def remote(self, kind: type) -> Any:
        def options(*, scheduling_strategy: str, **_: Any) -> Any:
            return SimpleNamespace(remote=lambda *_: self._actor(kind, scheduling_strategy))

        return SimpleNamespace(options=options)

    def wait(self, refs: list[Ref], *, timeout: float) -> tuple[list[Ref], list[Ref]]:
        return refs, []

    def get(self, ref: Ref, *, timeout: float | None = None) -> Any:
        return ref.result()

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


def node(name: str, *, cpus: int = 1, gpus: int = 0) -> Node:
    return Node(name, name, name, cpus, gpus)
