"""Facts: what both sides of a check say about themselves and about each problem."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdn_ops.codegen.errors import GdnError
from gdn_ops.codegen.problem import Problem
from gdn_ops.tuner.check.processes import SideError, SideProcess


class DeviceError(GdnError):
    """This machine does not have the device that a check was asked to measure on."""


@dataclass(frozen=True, kw_only=True)
class SideFacts:
    """What a side says about itself.

    Args:
        device: the torch device, e.g. ``cuda:0``.
        environment: what times depend on besides the code, in words.
        winners: facts of the problems that have measured winners for the target.
        faults: results databases that cannot be read, a sentence each.
    """

    device: str
    threads: int
    target: str
    environment: Mapping[str, str]
    winners: tuple[Mapping[str, Any], ...]
    faults: tuple[str, ...] = ()

    @property
    def conditions(self) -> dict[str, str]:
        """What must be the same for two sides to be compared, by name."""
        return {"target": self.target, **self.environment}


@dataclass(frozen=True, kw_only=True)
class Described:
    """What one side runs a problem on.

    Args:
        facts: of the problem's bucket.
        id: its name; None if the side does not know such a problem.
        variant: as JSON, ``text`` in words; None if the side cannot run the problem.
        how: how the variant was found; see ``gdn_ops.dispatch.choice``.
        key: a hash of everything between the arguments and the results of a call.
        error: why the side cannot run it.
    """

    facts: Mapping[str, Any]
    id: str | None = None
    op: str = ""
    dtype: str = ""
    variant: Mapping[str, Any] | None = None
    text: str = ""
    how: str = ""
    key: str = ""
    error: str = ""

    @property
    def runs(self) -> bool:
        """Whether the side can run the problem."""
        return self.variant is not None


def facts_of(process: SideProcess, *, device: str, threads: int | None) -> SideFacts:
    """Ask a side about itself.

    Raises:
        DeviceError: this machine does not have the device.
        SideError: it cannot be imported, or imports another gdn_ops than its own.
    """
    found = process.ask("winners", {"device": device, "threads": threads})
    if "absent" in found:
        raise DeviceError(found["absent"])
    folder = process.side.folder
    if folder is not None and found["root"] != str(folder.resolve()):
        raise SideError(
            process.side,
            f"imports gdn_ops of {found['root']}, not of {folder}; remove that folder from "
            "PYTHONPATH.",
        )
    return SideFacts(
        device=found["device"],
        threads=found["threads"],
        target=found["target"],
        environment=found["environment"],
        winners=tuple(found["problems"]),
        faults=tuple(found["faults"]),
    )


def described(
    process: SideProcess, problems: Sequence[Mapping[str, Any]], *, device: str
) -> list[Described]:
    """Ask a side what it runs each problem on."""
    if not problems:
        return []
    found = process.ask("describe", {"device": device, "problems": list(problems)})
    return [Described(**row) for row in found["rows"]]


def each_once(problems: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The problems without repetitions, in order."""
    return list({json.dumps(facts, sort_keys=True): facts for facts in problems}.values())


def named(facts: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name, op and dtype of a problem, also of one that this version does not know."""
    try:
        problem = Problem.from_facts(facts)
    except (GdnError, KeyError, TypeError):
        name = " ".join(f"{key}={value}" for key, value in facts.items())
        return name, str(facts.get("op", "")), str(facts.get("dtype", ""))
    return problem.id(), problem.op, problem.dtype


def differing(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """How two sets of conditions differ, in words; empty if they do not."""
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return ", ".join(f"{name}: {ours.get(name)} and {theirs.get(name)}" for name in names)


def incomparable(base: SideFacts, head: SideFacts, *, live: bool) -> str:
    """How the environments of the sides differ, in words; empty if they can be compared.

    Two sides of one run share their machine; what only one of them reports is no difference.
    """
    ours, theirs = base.conditions, head.conditions
    if live:
        both = ours.keys() & theirs.keys()
        ours, theirs = ({name: x[name] for name in both} for x in (ours, theirs))
    return differing(ours, theirs)
