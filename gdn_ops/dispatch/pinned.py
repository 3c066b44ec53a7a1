"""What choices are made from once they are frozen: winners and failed checks as they were then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gdn_ops.dispatch.winner_table import WinnerTable
from gdn_ops.verify.verification import Key, Verification


@dataclass(frozen=True, eq=False)
class Pinned:
    """Facts that choices are made from while they are frozen.

    Args:
        winners: the stored winners.
        failed: the checks that had failed on this machine.
    """

    winners: WinnerTable
    failed: Mapping[Key, Verification]


_PINNED: list[Pinned] = []


def pinned() -> Pinned | None:
    """Return what choices are frozen to; None if they are not frozen."""
    return _PINNED[0] if _PINNED else None


def pin(facts: Pinned | None) -> None:
    """Freeze choices to these facts; None ends that."""
    _PINNED[:] = [] if facts is None else [facts]
