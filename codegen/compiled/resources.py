"""Resources: what a compiled stage needs of its target, and why it may be unable to start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gdn_ops.codegen.compiled import gcn, sass
from gdn_ops.codegen.compiled.compile import Compiled
from gdn_ops.codegen.compiled.loops import Loop, Mix
from gdn_ops.codegen.compiled.machine_code import MachineCode
from gdn_ops.codegen.compiled.occupancy import Occupancy, occupancy
from gdn_ops.codegen.target import TENSOR_MEMORY_COLUMNS, Target

THREADS_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The resources that one compiled stage uses on one target.

    Args:
        warps: warps per block.
        registers: 32-bit registers per thread.
        stack: bytes of local memory per thread; if more than 0, registers spill.
        shared: bytes of shared memory per block, static and dynamic.
        tensor_memory: columns of tensor memory per block (sm_100).
        instructions: number of instructions.
        matrix: matrix instructions by kind; see ``MachineCode``.
        copies: asynchronous copies to shared memory by kind; see ``MachineCode``.
        local: loads and stores of local memory.
        binary: size of the binary in bytes.
        seconds: time of compiling, or of the look-up if ``cached``.
        cached: whether the binary came from Triton's cache.
        occupancy: resident blocks and warps.
        loops: the kernel's loops, itself first; empty if they were not read.
        partitioned: whether its warps are partitions that run side by side.
    """

    warps: int
    registers: int
    stack: int
    shared: int
    tensor_memory: int
    instructions: int
    matrix: Mapping[str, int]
    copies: Mapping[str, int]
    local: int
    binary: int
    seconds: float
    cached: bool
    occupancy: Occupancy
    loops: tuple[Loop, ...] = ()
    partitioned: bool = False

    @property
    def timed(self) -> bool:
        """Whether the cycles of its loops were counted, which older versions did not do."""
        return any(loop.mix.cycles > 0 for loop in self.loops)

    @property
    def tma(self) -> bool:
        """Whether tensor descriptors became bulk copies."""
        return any(name.startswith("UTMA") for name in self.copies)

    def reasons(self, target: Target) -> list[str]:
        """Why the kernel cannot start on the target; empty if it can."""
        reasons = []
        threads = self.warps * target.warp
        if threads > THREADS_BLOCK:
            reasons.append(
                f"{self.warps} warps are {threads} threads, and a block has at most "
                f"{THREADS_BLOCK}; use a smaller num_warps"
            )
        if self.shared > target.shared_block:
            reasons.append(
                f"{self.shared} bytes of shared memory exceed the {target.shared_block} that a "
                f"block may use on {target.name}; use smaller tiles or fewer num_stages"
            )
        if self.registers * threads > target.registers_sm:
            reasons.append(
                f"{self.registers} registers for each of {threads} threads exceed the "
                f"{target.registers_sm} of an SM of {target.name}; use smaller tiles or num_warps"
            )
        if self.tensor_memory > TENSOR_MEMORY_COLUMNS:
            reasons.append(
                f"{self.tensor_memory} columns of tensor memory exceed the "
                f"{TENSOR_MEMORY_COLUMNS} of an SM; use smaller tiles"
            )
        return reasons

    def to_json(self) -> dict[str, Any]:
        """The resources as a JSON object, as the database stores them."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Resources:
        """Read what ``to_json`` wrote."""
        loops = tuple(
            Loop(loop["outer"], Mix(**loop["mix"]), loop.get("warps", 0))
            for loop in data.get("loops", ())
        )
        return cls(**{**data, "occupancy": Occupancy(**data["occupancy"]), "loops": loops})


def resources_of(compiled: Compiled) -> Resources:
    """Read a compiled stage's resources from its binary.

    Raises:
        UnreadableCode: the binary cannot be read; the message says why.
    """
    target = compiled.target
    code = _machine_code(compiled)
    # from sm_90 on the binary of a kernel with shared memory counts the driver's own part of it
    reserved = target.reserved_block if target.capability >= 90 else 0
    shared = compiled.shared + max(0, code.shared - reserved)
    return Resources(
        warps=compiled.warps,
        registers=code.registers,
        stack=code.stack,
        shared=shared,
        tensor_memory=compiled.tensor_memory,
        instructions=code.instructions,
        matrix=code.matrix,
        copies=code.copies,
        local=code.local,
        binary=len(compiled.binary),
        seconds=compiled.seconds,
        cached=compiled.cached,
        loops=code.loops,
        partitioned=code.partitioned,
        occupancy=occupancy(
            target,
            warps=compiled.warps,
            registers=code.registers,
            shared=shared,
            tensor_memory=compiled.tensor_memory,
        ),
    )


def _machine_code(compiled: Compiled) -> MachineCode:
    if compiled.target.vendor == "amd":
        return gcn.parse(compiled.asm["amdgcn"])
    return sass.machine_code(compiled.binary)
