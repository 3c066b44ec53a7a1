"""Reading NVIDIA machine code, from what the tools that come with Triton print."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from math import isfinite

from gdn_ops.codegen.compiled.loops import Line, Loop, Mix, loops_of
from gdn_ops.codegen.compiled.machine_code import MachineCode
from gdn_ops.codegen.compiled.sass_step import FAR, GROUP, MOVES, step_of
from gdn_ops.codegen.compiled.tensor_products import PRODUCT, UniformRegisters
from gdn_ops.codegen.compiled.warp_cycles import Step
from gdn_ops.codegen.errors import UnreadableCode

_USAGE = re.compile(r"\bREG:(\d+) STACK:(\d+) SHARED:(\d+)")
_OPCODE = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)", re.MULTILINE)
# a label, or an instruction: predicate, opcode, operands, and the second half of its encoding
_LINE = re.compile(
    r"^(?:(\.L_x_\d+):|\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)([^/\n]*)"
    r"(?:/\* 0x[0-9a-f]{16} \*/\n\s+/\* 0x([0-9a-f]{16}) \*/)?)\s*$",
    re.M,
)
_TO = re.compile(r"`\((\.L_x_\d+)\)")
_WARP = re.compile(r"HMMA\.(\d{4,5})\.(\S+)")
_WARP_SHAPES = {"16816": 16 * 8 * 16, "1688": 16 * 8 * 8, "1684": 16 * 8 * 4}
GROUP_WARPS = 4
"""Warps of a warp group; an SM has as many schedulers."""
_WAITS = ("BAR.SYNC", "WARPGROUP.DEPBAR", "SYNCS.PHASECHK")
_THREADS = re.compile(r"BAR\.SYNC\S* \S+, 0x([0-9a-f]+)")
_LANES = 32
_COPIES = ("LDGSTS", "UTMALDG", "UTMASTG", "UTMAREDG", "UBLKCP")
PARTITION = "USETMAXREG"
"""The instruction with which partitions that run side by side share the registers."""


def machine_code(cubin: bytes) -> MachineCode:
    """Read the kernel in a cubin.

    Raises:
        UnreadableCode: Triton's wheel lacks the tools, they cannot read this architecture, or
            there is no folder for temporary files.
    """
    return parse(*printed(cubin))


def printed(cubin: bytes) -> tuple[str, str]:
    """A kernel's resource usage and its listing; errors as of ``machine_code``."""
    try:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(cubin)
            file.flush()
            usage = _output("cuobjdump", "--dump-resource-usage", file.name)
            # without the data flow of registers, which takes longer than everything else
            options = ("--print-code", "--print-instruction-encoding", "--no-dataflow")
            return usage, _output("nvdisasm", *options, file.name)
    except OSError as error:
        raise UnreadableCode(
            f"the kernel cannot be written to a file for the disassembler: {error}; "
            "set TMPDIR to a writable folder."
        ) from error


def parse(usage: str, listing: str) -> MachineCode:
    """Parse what ``cuobjdump --dump-resource-usage`` and ``nvdisasm --print-code`` print."""
    found = _USAGE.search(usage)
    if found is None:
        raise UnreadableCode(
            f"cuobjdump printed no resource usage: {usage[:200]!r}; update Triton."
        )
    registers, stack, shared = map(int, found.groups())
    opcodes = Counter(_OPCODE.findall(listing))
    del opcodes["NOP"]
    return MachineCode(
        registers=registers,
        stack=stack,
        shared=shared,
        instructions=opcodes.total(),
        matrix={name: n for name, n in sorted(opcodes.items()) if name.endswith("MMA")},
        copies={name: n for name, n in sorted(opcodes.items()) if name in _COPIES},
        local=opcodes["LDL"] + opcodes["STL"],
        loops=_loops(listing),
        partitioned=PARTITION in opcodes,
    )


def _loops(listing: str) -> tuple[Loop, ...]:
    """The kernel's loops; empty if a product's shape is not known."""
    loops = loops_of(lines(listing))
    return loops if all(isfinite(loop.mix.tensor) for loop in loops) else ()


def lines(listing: str) -> Iterator[Line]:
    """The instructions and labels of a listing; with its encodings, also how they delay others."""
    registers = UniformRegisters()
    for label, predicate, opcode, operands, encoding in _LINE.findall(listing):
        if label:
            yield Line(label=label)
        elif opcode != "NOP":
            to = _TO.search(operands) if opcode.startswith("BRA") else None
            step = step_of(opcode, operands, int(encoding, 16), registers) if encoding else None
            registers.follow(opcode, operands)
            threads = _THREADS.match(f"{opcode}{operands}")
            yield Line(
                branch=to[1] if to else "",
                mix=_mix(opcode, step),
                step=step,
                ends=opcode == "EXIT" and not predicate,
                warps=int(threads[1], 16) // _LANES if threads else 0,
            )


def _mix(opcode: str, step: Step | None) -> Mix:
    """The counts of one instruction of a warp."""
    flops, tf32, warp = 0.0, "TF32" in opcode, False
    if found := GROUP.match(opcode):
        m, n, k = map(int, found.groups())
        flops = 2.0 * m * n * k / GROUP_WARPS
    elif found := _WARP.match(opcode):
        flops, warp = 2.0 * _WARP_SHAPES.get(found[1], 0), True
    kind, amount = (step.kind, step.amount) if step else ("other", 0.0)
    tensor = opcode.startswith(PRODUCT) and step is not None
    return Mix(
        instructions=1,
        flops_16=0.0 if tf32 else flops,
        flops_tf32=flops if tf32 else 0.0,
        warp_flops=flops if warp else 0.0,
        special=int(opcode.startswith("MUFU")),
        waits=int(opcode.startswith(_WAITS)),
        matrix=amount if kind == "product" and not tensor else 0.0,
        tensor=amount if tensor else 0.0,
        path=amount if kind in MOVES else 0.0,
        far=amount if kind in FAR else 0.0,
    )


def _output(tool: str, *arguments: str) -> str:
    from triton import knobs

    try:
        path = getattr(knobs.nvidia, tool).path
        return subprocess.run([path, *arguments], check=True, capture_output=True, text=True).stdout
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        said = (str(getattr(error, "stderr", "") or "").strip() or str(error)).splitlines()[-1]
        raise UnreadableCode(
            f"{tool} cannot read the kernel: {said}; install Triton's own wheel, "
            f"or set TRITON_{tool.upper()}_PATH to a newer {tool}."
        ) from error
