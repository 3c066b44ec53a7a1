"""NVIDIA machine code, as the tools that come with Triton print it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter

from gdn_ops.codegen.errors import UnreadableCode
from gdn_ops.codegen.machine_code import MachineCode

_USAGE = re.compile(r"\bREG:(\d+) STACK:(\d+) SHARED:(\d+)")
_OPCODE = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_]*)", re.MULTILINE)
_COPIES = ("LDGSTS", "UTMALDG", "UTMASTG", "UTMAREDG", "UBLKCP")


def machine_code(cubin: bytes) -> MachineCode:
    """Read the kernel in a cubin.

    Raises:
        UnreadableCode: Triton's wheel lacks the tools, they cannot read this architecture, or
            there is no folder for passing files.
    """
    try:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            file.write(cubin)
            file.flush()
            usage = _output("cuobjdump", "--dump-resource-usage", file.name)
            # without the data flow of registers, which takes longer than all the rest
            listing = _output("nvdisasm", "--print-code", "--no-dataflow", file.name)
    except OSError as error:
        raise UnreadableCode(
            f"the kernel cannot be laid out for the disassembler: {error}; "
            "set TMPDIR to a writable folder."
        ) from error
    return parse(usage, listing)


def parse(usage: str, listing: str) -> MachineCode:
    """Read what ``cuobjdump --dump-resource-usage`` and ``nvdisasm --print-code`` printed."""
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
    )


def _output(tool: str, *arguments: str) -> str:
    from triton import knobs

    try:
        path = getattr(knobs.nvidia, tool).path
        return subprocess.run([path, *arguments], check=True, capture_output=True, text=True).stdout
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        said = (str(getattr(error, "stderr", "") or "").strip() or str(error)).splitlines()[-1]
        raise UnreadableCode(
            f"{tool} did not read the kernel: {said}; install Triton's own wheel, "
            f"or set TRITON_{tool.upper()}_PATH to a newer {tool}."
        ) from error
