"""Launch: one kernel of a call, with the bytes its tensors hold and what it needs of a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gdn_ops.codegen.compiled.resources import Resources
from gdn_ops.codegen.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a compiled kernel needs of a GPU; the fields are those of ``Resources``."""

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
        kernel: its name; an operation of PyTorch's own starts with ``aten.``.
        bytes: of all its tensors, a token of a value head, each tensor once.
        config: tile sizes, warps and stages that ``needs`` were read of.
        needs: None for PyTorch's own kernels, and where nothing compiled.
        compiled: configs that were compiled to choose ``config`` from.
        spilling: how many of these spill registers.
        remark: why there are no needs.
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
        """Read what ``asdict`` made."""
        needs = None if data["needs"] is None else Needs(**data["needs"])
        return cls(**{**data, "needs": needs})


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Every launch of one op by one plan, ours or a peer's."""

    plan: str
    problem: Problem
    launches: tuple[Launch, ...]

    @property
    def bytes(self) -> float:
        """Bytes a token of a value head."""
        return sum(launch.bytes for launch in self.launches)

    @property
    def needs(self) -> tuple[Needs, ...]:
        return tuple(launch.needs for launch in self.launches if launch.needs is not None)

    @property
    def matrix(self) -> dict[str, int]:
        """Matrix instructions of all kernels, by kind."""
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
