"""Launch: one kernel launch of a call, with the bytes of its tensors and its resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The resources that a compiled kernel needs; the fields are those of ``Resources``."""

    warps: int
    registers: int
    stack: int
    shared: int
    instructions: int
    matrix: Mapping[str, int]
    resident_warps: int

    @classmethod
    def of(cls, found: Resources) -> Needs:
        return cls(
            warps=found.warps,
            registers=found.registers,
            stack=found.stack,
            shared=found.shared,
            instructions=found.instructions,
            matrix=dict(found.matrix),
            resident_warps=found.occupancy.warps,
        )


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One launch of a call.

    Args:
        kernel: its name; that of a PyTorch operation starts with ``aten.``.
        bytes: bytes per token and value head of all its tensors, each counted once.
        config: tile sizes, warps and pipeline stages of the compiled kernel.
        needs: its resources; None for PyTorch's kernels and if nothing compiled.
        compiled: the number of configs that were compiled, of which ``config`` is the best.
        spilling: the number of these that spill registers.
        remark: why ``needs`` is None.
    """

    kernel: str
    bytes: float
    config: str = ""
    needs: Needs | None = None
    compiled: int = 0
    spilling: int = 0
    remark: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Launch:
        """Read the output of ``asdict``."""
        needs = None if data["needs"] is None else Needs(**data["needs"])
        return cls(**{**data, "needs": needs})


@dataclass(frozen=True, kw_only=True)
class Counted:
    """All launches of an op by one of our plans or by the peer."""

    plan: str
    problem: Problem
    launches: tuple[Launch, ...]

    @property
    def bytes(self) -> float:
        """Bytes per token and value head."""
        return sum(launch.bytes for launch in self.launches)

    @property
    def needs(self) -> tuple[Needs, ...]:
        return tuple(launch.needs for launch in self.launches if launch.needs is not None)

    @property
    def matrix(self) -> dict[str, int]:
        """The number of matrix instructions in all kernels, by kind."""
        kinds = sorted({kind for need in self.needs for kind in need.matrix})
        return {kind: sum(need.matrix.get(kind, 0) for need in self.needs) for kind in kinds}

    def json(self) -> dict[str, Any]:
        launches = [asdict(launch) for launch in self.launches]
        for launch in launches:
            launch["bytes"] = round(launch["bytes"], 3)
        return {
            "plan": self.plan,
            "op": self.problem.op,
            "problem": self.problem.id(),
            "bytes": round(self.bytes, 3),
            "launches": launches,
        }
