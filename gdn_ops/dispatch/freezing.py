"""``freeze``: every process of a job makes the same choices, or raises an error."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from gdn_ops.codegen.target import Target
from gdn_ops.dispatch.bindings import keep_bound
from gdn_ops.dispatch.choice import stored_winners
from gdn_ops.dispatch.device import local_device, target_of
from gdn_ops.dispatch.first_use import failed_checks
from gdn_ops.dispatch.pinned import Pinned, pin, pinned
from gdn_ops.dispatch.providers import provider_versions
from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.errors import InvalidInput
from gdn_ops.results_path import verification_policy
from gdn_ops.toolchain import ptxas_version, triton_version
from gdn_ops.verify.verification import Place, Verification

CODE = ("codegen", "dispatch", "launch", "ops", "rendered", "serving", "templates")
"""Folders of the package that decide what a call runs on."""

UNLIKE = ("memory", "bandwidth")
"""Figures of a device that choices do not depend on, and that differ between equal devices."""


@dataclass(frozen=True)
class Frozen:
    """What the choices of this process are frozen to. Equal objects mean equal choices.

    It can be pickled, for ``torch.distributed.all_gather_object``. As a context manager it ends
    with ``unfreeze``.

    Args:
        digest: SHA-256 of everything that choices depend on.
        parts: the digest of each part, by name: ``code``, ``winners``, ``device``, ``toolchain``
            and ``failed checks``.
    """

    digest: str
    parts: tuple[tuple[str, str], ...]

    def differences(self, other: Frozen) -> list[str]:
        """Return the names of the parts in which another process differs."""
        theirs = dict(other.parts)
        return [name for name, digest in self.parts if digest != theirs.get(name)]

    def __str__(self) -> str:
        return self.digest

    def __enter__(self) -> Frozen:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        unfreeze()


def freeze(device: torch.device | str | None = None) -> Frozen:
    """Make every later choice of this process from what is stored and known now.

    Processes with equal results run every call on the same variants: with the same code, winners,
    kind of device, Triton, ptxas and PyTorch, and the same failed checks. Each process compares
    its result with the others'::

        frozen = gdn_ops.freeze()
        others = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(others, frozen)
        for rank, other in enumerate(others):
            if other != frozen:
                raise RuntimeError(f"rank {rank} differs in {frozen.differences(other)}")

    Choices that were made before are kept; one that would be another today is made again. A call of
    a new kind is chosen from the winners as they are now, whatever is stored later, and by its
    bucket of sizes only, so that it does not matter which call came first. A kernel that was not
    verified on this GPU is still verified before its first use; if it fails then, the call raises a
    LaunchError instead of going on with the next choice, which other processes may not do. Run
    ``gdn verify`` or ``warmup`` on every machine before, so that this cannot happen later.

    Call it before CUDA graphs are captured, and while no other thread calls an operator.

    Args:
        device: the device of the later calls. Default: the current GPU, or the CPU.

    Raises:
        InvalidInput: choices are frozen already, or this machine does not have the device.
    """
    if pinned() is not None:
        raise InvalidInput("choices are frozen already; call gdn_ops.unfreeze() first.")
    usual = "cuda" if torch.cuda.is_available() else "cpu"
    target = target_of(local_device(usual if device is None else device))
    facts = Pinned(stored_winners(target), failed_checks())
    parts = {
        "code": _code(),
        "winners": _digest(_winners(facts.winners)),
        "device": _digest({k: v for k, v in asdict(target).items() if k not in UNLIKE}),
        "toolchain": _digest(_toolchain(facts.winners, target)),
        "failed checks": _digest(_failed(facts, target)),
    }
    pin(facts)
    try:
        keep_bound()
    except BaseException:
        pin(None)
        raise
    return Frozen(_digest(parts), tuple(parts.items()))


def unfreeze() -> None:
    """Make choices from what is stored and known at the time again; made ones stay.

    ``gdn_ops.refresh`` then also forgets those. Nothing happens if choices are not frozen.
    """
    pin(None)


def _toolchain(table: WinnerTable, target: Target) -> list[Any]:
    """The versions that choices depend on, also of providers that are winners."""
    ours = [triton_version(), ptxas_version(target.arch), torch.__version__]
    providers = provider_versions(winner.variant for winner in table.winners)
    return [*ours, providers] if providers else ours


def _winners(table: WinnerTable) -> list[list[list[Any]]]:
    """The winners of each database that has some, ordered by content: row numbers are its own."""
    found: dict[object, list[list[Any]]] = {}
    for w in (*table.winners, *table.own):
        facts = [
            w.problem_id, w.facts, w.target, w.arch, w.variant, w.provenance, w.median, w.created,
        ]  # fmt: skip
        found.setdefault(w.database, []).append(facts)
    return [sorted(rows, key=_digest) for rows in found.values()]


def _failed(facts: Pinned, target: Target) -> list[list[str]]:
    """The failed checks that choices on this target depend on."""
    if not target.gpu or verification_policy() == "never":
        return []
    place = Place.of(target)
    here = [found for found in facts.failed.values() if found.place == place]
    return sorted(map(_check, here))


def _check(found: Verification) -> list[str]:
    return [found.problem, found.variant, found.code, found.status]


@cache
def _code() -> str:
    """The digest of the files that choices and kernels come from."""
    found = hashlib.sha256()
    for name, path in _files():
        found.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def _files() -> Iterator[tuple[str, Path]]:
    root = Path(str(files("gdn_ops")))
    for folder in CODE:
        # a folder may be a link, which a search from above does not follow
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".jinja", ".json"):
                yield path.relative_to(root).as_posix(), path


def _digest(facts: object) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
