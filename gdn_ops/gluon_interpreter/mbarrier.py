"""``hopper.mbarrier`` of the interpreter."""

from __future__ import annotations

from typing import Any

from gdn_ops.gluon_interpreter.barrier import Barrier
from gdn_ops.gluon_interpreter.program import program


def MBarrierLayout() -> None:
    return None


def init(mbarrier: Barrier, count: int) -> None:
    mbarrier.init(count)


def arrive(mbarrier: Barrier, *, count: int = 1) -> None:
    mbarrier.arrive(count)
    program().switch()


def expect(mbarrier: Barrier, bytes_per_cta: int) -> None:
    mbarrier.expect(bytes_per_cta)
    program().switch()


def wait(mbarrier: Barrier, phase: Any) -> None:
    mbarrier.wait(phase)
